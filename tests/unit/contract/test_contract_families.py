"""Samples that become several: ids, levels, and who reads whom."""

from __future__ import annotations

import pytest

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.pipeline import INPUT, Read, StageSpec, expansions, stage_levels
from scenewright_stages.contract.samples import Child, Family, Sample, SourceFile

ROOT = Sample("a/photo", {"source": SourceFile("file:///in/photo.png", 3, "f")}, attributes={"age": 3})


def stage(name: str, *reads: str, expands: tuple[str, ...] = ()) -> StageSpec:
    children = [Child(ending) for ending in expands]
    return StageSpec(
        name, 1, "m:C", tuple(Read(read) for read in reads), (), expands=(lambda sample: children) if expands else None
    )


def family(stages: tuple[StageSpec, ...]) -> Family:
    return Family.of(ROOT, expansions(stages))


CHAIN = (
    stage("first", INPUT),
    stage("second", "first", expands=("_v0", "_v1")),
    stage("third", "first", "second"),
    stage("fourth", "third", expands=("-0", "-1", "-2")),
)


def test_levels_count_the_expansions_on_the_way() -> None:
    assert stage_levels(CHAIN) == {"first": 0, "second": 1, "third": 1, "fourth": 2}
    assert stage_levels(CHAIN[:1]) == {"first": 0}


def test_leaves_are_the_product_of_all_expansions_with_unique_ids_and_the_files_of_the_indexed_sample() -> None:
    found = family(CHAIN).leaves
    assert [leaf.id for leaf in found] == [f"a/photo_v{light}-{view}" for light in (0, 1) for view in (0, 1, 2)]
    assert {leaf.source for leaf in found} == {ROOT.source}
    assert [one.id for one in found[4].lineage()] == ["a/photo", "a/photo_v1", "a/photo_v1-1"]
    assert family(CHAIN[:1]).leaves == (ROOT,)
    assert [one.id for level in family(CHAIN[:2]).levels for one in level] == ["a/photo", "a/photo_v0", "a/photo_v1"]


def test_ancestors_are_what_the_lower_stages_worked_on() -> None:
    leaf = family(CHAIN).leaves[4]
    assert leaf.at_level(0) is leaf.root is ROOT
    assert leaf.at_level(1) == ROOT.children([Child("_v0"), Child("_v1")])[1]
    assert leaf.at_level(2) is leaf


def test_an_expanded_sample_survives_its_line_of_a_worklist() -> None:
    leaf = family(CHAIN).leaves[0]
    assert Sample.from_json(leaf.to_json()) == leaf


def test_a_sample_shows_only_some_of_its_attributes_and_so_do_those_that_it_comes_from() -> None:
    (child,) = ROOT.children([Child("_x", {"view": 1, "mood": "dim"})])
    shown = child.with_only(("age", "view"))
    assert (shown.attributes, shown.root.attributes) == ({"age": 3, "view": 1}, {"age": 3})
    bare = child.with_only(())
    assert (bare.attributes, bare.root.attributes, bare.id, bare.files) == ({}, {}, child.id, child.files)
    assert Sample.from_json(shown.to_json()) == shown


def test_two_stages_that_expand_the_same_samples_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="expands the same samples as second"):
        stage_levels((*CHAIN[:2], stage("other", "first", expands=("x",))))


def test_a_child_whose_id_is_too_long_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="too long"):
        Sample("a" * 127).children([Child("_v0")])
