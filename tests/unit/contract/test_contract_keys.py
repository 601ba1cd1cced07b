"""Keys and fingerprints: what changes them, and above all what does not."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from pydantic import Field
from toy_chains import photo, pipeline_of

from scenewright_stages.contract.keys import (
    frozen_table,
    input_fingerprint,
    refreshed_table,
    same_fingerprint,
    stage_keys,
)
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import INPUT, Pipeline, Read, StageSpec
from scenewright_stages.contract.samples import SourceFile
from scenewright_stages.pipelines import pipelines


class Brush(Params):
    """A nested block."""

    width: float = 1.0
    colours: tuple[float, ...] = (0.5, 1.0)


class Painting(Params):
    """A pipeline's block."""

    seedling: int = 1
    brush: Brush = Brush()


class WiderBrush(Brush):
    """The block in the next release: with a field more."""

    wet: bool = False


class WiderPainting(Painting):
    """The pipeline's block in the next release."""

    brush: WiderBrush = WiderBrush()
    frame: str = ""


class BroaderBrush(Brush):
    """The block in a release that changes a default."""

    width: float = 2.0


class BroaderPainting(Painting):
    """The pipeline's block in that release."""

    brush: BroaderBrush = BroaderBrush()


PAINT = StageSpec("paint", 1, "m:C", (Read(INPUT),), (), parameters=("brush",))
SELL = StageSpec("sell", 1, "m:C", (Read("paint"),), (), parameters=("seedling",))


def released(pipeline: Pipeline) -> Pipeline:
    """The pipeline with the defaults of today frozen."""
    return replace(pipeline, defaults=frozen_table(pipeline))


def keys(pipeline: Pipeline, block: dict[str, Any] | None = None, **inputs: str) -> dict[str, str]:
    return stage_keys(pipeline, pipeline.parse(block or {}), {}, 42, inputs)


FIRST = released(pipeline_of(PAINT, SELL, params=Painting))


def successor(params: type[Params], **paint: Any) -> Pipeline:
    """A later release that still has the frozen defaults of the first."""
    return replace(pipeline_of(replace(PAINT, **paint), SELL, params=params), defaults=FIRST.defaults)


@pytest.mark.parametrize("block", [{}, {"brush": {"width": 3.0}}, {"brush": {"colours": [0.1]}, "seedling": 2}])
def test_a_new_field_with_a_default_changes_no_key(block: dict[str, Any]) -> None:
    assert keys(successor(WiderPainting), block) == keys(FIRST, block)


def test_a_new_field_that_is_set_changes_the_key_of_its_stage_and_of_what_reads_it() -> None:
    before, after = keys(FIRST), keys(successor(WiderPainting), {"brush": {"wet": True}})
    assert before["paint"] != after["paint"] and before["sell"] != after["sell"]
    assert keys(FIRST, {"seedling": 2})["paint"] == before["paint"]


def test_a_changed_default_changes_the_key_as_long_as_the_version_stays_and_is_no_difference_to_the_value_itself() -> (
    None
):
    changed = successor(BroaderPainting)
    assert keys(changed)["paint"] == keys(FIRST, {"brush": {"width": 2.0}})["paint"] != keys(FIRST)["paint"]
    assert keys(changed, {"brush": {"width": 1.0}}) == keys(FIRST)


def test_a_changed_default_with_a_raised_version_counts_as_the_default_of_that_version() -> None:
    changed = released(successor(BroaderPainting, version=2))
    assert keys(changed) == keys(changed, {"brush": {"width": 2.0}})
    assert keys(changed)["paint"] not in {keys(FIRST)["paint"], keys(successor(BroaderPainting))["paint"]}


@pytest.mark.parametrize("name", pipelines(built_in=True))
def test_defaults_of_built_in_pipelines_are_the_frozen_ones_of_their_stages_versions(name: str) -> None:
    pipeline = pipelines(built_in=True)[name]
    assert refreshed_table(pipeline.defaults, frozen_table(pipeline)) == (pipeline.defaults, [])


def changed(pipeline: Pipeline) -> list[str]:
    """What the tool that writes frozen defaults refuses."""
    return refreshed_table(pipeline.defaults, frozen_table(pipeline))[1]


def test_a_default_that_changed_without_a_raised_version_is_found() -> None:
    assert changed(FIRST) == changed(successor(WiderPainting)) == []
    assert changed(successor(BroaderPainting)) == ["paint: brush.width was 1.0 and is 2.0"]
    assert changed(successor(BroaderPainting, version=2)) == []
    table = copy.deepcopy(dict(FIRST.defaults))
    table["paint"]["defaults"]["brush"]["colours"] = [0.5]
    assert changed(replace(FIRST, defaults=table)) == ["paint: brush.colours was [0.5] and is [0.5, 1.0]"]


def test_the_table_takes_in_new_fields_and_raised_versions_and_keeps_what_went() -> None:
    wider, _ = refreshed_table(FIRST.defaults, frozen_table(successor(WiderPainting)))
    assert wider["paint"]["defaults"]["brush"] == {"width": 1.0, "colours": [0.5, 1.0], "wet": False}
    assert refreshed_table(wider, frozen_table(FIRST)) == (wider, [])
    raised, _ = refreshed_table(FIRST.defaults, frozen_table(successor(BroaderPainting, version=2)))
    assert raised["paint"] == {"version": 2, "defaults": {"brush": {"width": 2.0, "colours": [0.5, 1.0]}}}


class Sized(Params):
    """A block with a required field."""

    width: float = Field(gt=0.0)
    height: float = 1.0


class Needy(Params):
    """A pipeline's block that cannot be left empty."""

    dataset: str
    size: Sized


def test_required_parameters_are_part_of_keys_and_need_no_default() -> None:
    stage = StageSpec("train", 1, "m:C", (), (), parameters=("dataset", "size"))
    examples = ({"dataset": "pairs", "size": {"width": 2.0}},)
    needy = released(pipeline_of(stage, params=Needy, examples=examples))
    assert needy.defaults["train"]["defaults"] == {"size": {"height": 1.0}}
    small = {"dataset": "pairs", "size": {"width": 1.0}}
    assert keys(needy, small) == keys(needy, {**small, "size": {"width": 1.0, "height": 1.0}})
    for other in ({**small, "dataset": "others"}, {**small, "size": {"width": 2.0}}):
        assert keys(needy, other) != keys(needy, small)
    wider = replace(needy, params=type("Next", (Needy,), {"__annotations__": {"more": int}, "more": 3}))
    assert keys(wider, small) == keys(needy, small)


def test_hashes_of_named_inputs_are_part_of_the_keys_of_the_stages_that_read_them() -> None:
    tuned = replace(PAINT, inputs=("checkpoint",))
    pipeline = pipeline_of(tuned, SELL, replace(SELL, name="other", reads=(Read(INPUT),)), params=Painting)
    base, one, two = keys(pipeline), keys(pipeline, checkpoint="a"), keys(pipeline, checkpoint="b")
    assert len({each["paint"] for each in (base, one, two)}) == len({each["sell"] for each in (base, one, two)}) == 3
    assert base["other"] == one["other"] == two["other"]
    assert keys(pipeline, unread="x") == base


def test_stages_of_keyed_by_are_part_of_the_key_and_not_of_what_is_read() -> None:
    apart = replace(SELL, name="apart", reads=(Read(INPUT),))
    bound = replace(apart, keyed_by=("paint",))
    found = [pipeline_of(PAINT, each, params=Painting) for each in (apart, bound)]
    free, tied = [(keys(each)["apart"], keys(each, {"brush": {"width": 9.0}})["apart"]) for each in found]
    assert free[0] == free[1] and tied[0] != tied[1]
    assert bound.upstream() == ()


def test_only_attributes_that_a_stage_reads_are_part_of_a_samples_fingerprint() -> None:
    reading = replace(PAINT, attributes=("prompt",))
    one, other = photo("s", attributes={"prompt": "a", "age": 1}), photo("s", attributes={"prompt": "b", "age": 1})
    older = photo("s", attributes={"prompt": "a", "age": 2})
    assert input_fingerprint(reading, one, {}) != input_fingerprint(reading, other, {})
    assert input_fingerprint(reading, one, {}) == input_fingerprint(reading, older, {})
    assert input_fingerprint(PAINT, one, {}) == input_fingerprint(PAINT, other, {}) == "print-s"


def test_a_fingerprint_covers_the_roles_that_are_read_and_no_others() -> None:
    files = {**photo("s").files, "mask": SourceFile("file:///m.png", 1, "mask"), "depth": SourceFile("f", 1, "depth")}
    sample = photo("s", attributes={})
    sample = replace(sample, files=files)
    every, some = PAINT, replace(PAINT, reads=(Read(INPUT, ("source", "mask")),))
    assert input_fingerprint(every, sample, {}) == "print-s+depth+mask"
    assert input_fingerprint(some, sample, {}) == "print-s+mask"
    assert input_fingerprint(replace(PAINT, reads=(Read("other"),)), sample, {}) == ""


def test_named_inputs_and_answers_are_part_of_fingerprints() -> None:
    reading = replace(PAINT, inputs=("checkpoint",))
    found = [input_fingerprint(reading, photo("s"), {"checkpoint": value}) for value in "ab"]
    assert found[0] != found[1] != input_fingerprint(PAINT, photo("s"), {"checkpoint": "a"}) == "print-s"
    assert input_fingerprint(PAINT, photo("s"), {}, "h1") != input_fingerprint(PAINT, photo("s"), {}, "h2")


def test_what_an_entry_sets_is_part_of_the_fingerprints_of_the_stages_that_depend_on_it() -> None:
    own = photo("s", overrides={"brush": {"width": 3.0}})
    assert input_fingerprint(PAINT, own, {}) != input_fingerprint(PAINT, photo("s"), {})
    assert input_fingerprint(SELL, own, {}) == input_fingerprint(SELL, photo("s"), {})
    deeper = replace(PAINT, parameters=("brush.width",))
    assert input_fingerprint(deeper, own, {}) != input_fingerprint(deeper, photo("s"), {})
    assert input_fingerprint(replace(PAINT, parameters=("brush.colours",)), own, {}) == "print-s"


def test_records_of_releases_that_knew_no_attributes_stay_valid() -> None:
    reading = replace(PAINT, attributes=("prompt",))
    now = input_fingerprint(reading, photo("s", attributes={"prompt": "a"}), {})
    assert same_fingerprint("print-s", now) and same_fingerprint(now, now)
    assert not same_fingerprint("print-t", now)
    edited = input_fingerprint(reading, photo("s", attributes={"prompt": "b"}), {})
    assert not same_fingerprint(now, edited)
    with_more = input_fingerprint(replace(reading, inputs=("checkpoint",)), photo("s"), {"checkpoint": "x"})
    assert not same_fingerprint("print-s", with_more), "such a stage did not exist then"


def test_a_frozen_table_names_every_stage_of_every_example() -> None:
    more = replace(SELL, name="more")
    pipeline = Pipeline(
        "toy",
        "SceneJob",
        Painting,
        lambda params: (PAINT, more) if params.seedling > 1 else (PAINT, SELL),
        examples=({"seedling": 2},),
    )
    assert list(frozen_table(pipeline)) == ["more", "paint", "sell"]


@pytest.mark.parametrize(("part", "moves"), [("", True), ("page", False)])
def test_the_key_of_a_stage_that_reads_a_part_leaves_the_parameters_above_it_out(part: str, moves: bool) -> None:
    """One more page must not make the readers of the others run again; the record knows the page's own hash."""

    def chain(params: Painting) -> tuple[StageSpec, ...]:
        pages = StageSpec("pages", 1, "m:C", (Read(INPUT),), (), parameters=("seedling",))
        return pages, StageSpec("one", 1, "m:C", (Read("pages", part=part),), (), parameters=("brush.width",))

    pipeline = Pipeline("painting", "DatasetJob", Painting, chain)
    before, after = (stage_keys(pipeline, Painting(seedling=number), {}, 0) for number in (1, 2))
    assert before["pages"] != after["pages"]
    assert (before["one"] != after["one"]) == moves
    wider = stage_keys(pipeline, Painting(brush=Brush(width=3.0)), {}, 0)
    assert before["one"] != wider["one"]
