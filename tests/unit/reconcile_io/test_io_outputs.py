"""Objects with equal or nested outputs run one at a time, the oldest first, and nobody is thrown out."""

from __future__ import annotations

import api_objects as raw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenewright.reconcile.objects import packed
from scenewright.reconcile.observation import ObjectKey
from scenewright.reconcile.outputs import OutputIndex, ancestors, normalised
from scenewright.reconcile.projection import observed_object

Changes = dict[str, object]


def key(name: str) -> ObjectKey:
    return ObjectKey("SceneJob", "lab", name)


def take(
    index: OutputIndex, name: str, uri: str, age: int = 0, phase: str = "", suspend: bool = False, seen: int = 2
) -> None:
    """Puts an object into the index; a larger age is older."""
    document = raw.scene(
        name,
        metadata={"creationTimestamp": f"2026-11-21T10:{59 - age:02d}:00Z"},
        spec={"output": {"uri": uri}, "suspend": suspend},
        status={"phase": phase, "observedGeneration": seen},
    )
    index.update(packed(observed_object(document, "SceneJob")))


@pytest.mark.parametrize(
    ("uri", "plain"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket/a//b/", "s3://bucket/a/b"),
        ("s3://bucket/./a/../b", "s3://bucket/b"),
        ("s3://bucket/../../etc", "s3://bucket/etc"),
        ("S3://bucket", "s3://bucket"),
        ("file:///data/scenes/", "file:///data/scenes"),
        ("", ""),
    ],
)
def test_equal_places_have_equal_names(uri: str, plain: str) -> None:
    assert normalised(uri) == plain


def test_a_bucket_does_not_lie_in_one_whose_name_it_begins_with() -> None:
    assert "s3://bucket" not in ancestors("s3://bucket-two/a")
    assert "s3://bucket/a" not in ancestors("s3://bucket/ab")


@pytest.mark.parametrize(
    ("first", "second"),
    [("s3://b/x", "s3://b/x/"), ("s3://b/x", "s3://b/x/y/z"), ("s3://b/x/y/z", "s3://b/x"), ("s3://b", "s3://b/x")],
)
def test_the_older_of_two_overlapping_outputs_goes_first(first: str, second: str) -> None:
    index = OutputIndex()
    take(index, "young", second, age=1)
    take(index, "old", first, age=2)
    assert index.holder(key("young")) == key("old")
    assert index.holder(key("old")) is None


@pytest.mark.parametrize(("first", "second"), [("s3://b/x", "s3://b/xy"), ("s3://b/x", "s3://c/x")])
def test_outputs_beside_each_other_do_not_wait(first: str, second: str) -> None:
    index = OutputIndex()
    take(index, "old", first, age=2)
    take(index, "young", second, age=1)
    assert index.holder(key("young")) is None


def test_what_has_begun_is_not_thrown_out_by_an_older_one() -> None:
    index = OutputIndex()
    take(index, "young", "s3://b/x", age=1)
    assert index.holder(key("young")) is None
    take(index, "old", "s3://b/x", age=2)
    assert index.holder(key("old")) == key("young")
    assert index.holder(key("young")) is None


def test_after_a_restart_the_one_that_runs_is_known_by_its_phase() -> None:
    index = OutputIndex()
    take(index, "old", "s3://b/x", age=2)
    take(index, "young", "s3://b/x", age=1, phase="Running")
    assert index.holder(key("old")) == key("young")
    assert index.holder(key("young")) is None


@pytest.mark.parametrize("phase", ["Complete", "Failed"])
def test_an_ended_object_frees_its_output_and_the_others_are_told(phase: str) -> None:
    freed: list[ObjectKey] = []
    index = OutputIndex(freed.append)
    take(index, "old", "s3://b/x", age=2)
    take(index, "young", "s3://b/x/y", age=1)
    assert index.holder(key("old")) is None
    take(index, "old", "s3://b/x", age=2, phase=phase)
    assert freed == [key("young")]
    assert index.holder(key("young")) is None


def test_an_end_of_an_earlier_generation_is_no_end() -> None:
    index = OutputIndex()
    take(index, "old", "s3://b/x", age=2, phase="Complete", seen=1)
    take(index, "young", "s3://b/x", age=1)
    assert index.holder(key("young")) == key("old")


def test_an_ended_object_that_is_asked_to_try_again_waits_for_whoever_writes_now() -> None:
    """The annotation changes no generation: its end is none any more all the same."""
    index = OutputIndex()
    take(index, "young", "s3://b/x", age=1)
    assert index.holder(key("young")) is None
    document = raw.scene(
        "old",
        metadata={"creationTimestamp": "2026-11-21T10:57:00Z", "annotations": {"scenewright.io/retry": "4"}},
        spec={"output": {"uri": "s3://b/x"}},
        status={"phase": "Complete", "retryTokens": ["3"], "effective": {"workHash": "0" * 16}},
    )
    index.update(packed(observed_object(document, "SceneJob")))
    assert index.holder(key("old")) == key("young")


def test_a_suspended_object_keeps_nobody_waiting() -> None:
    index = OutputIndex()
    take(index, "old", "s3://b/x", age=2, phase="Suspended", suspend=True)
    take(index, "young", "s3://b/x", age=1)
    assert index.holder(key("young")) is None


def test_a_deleted_object_frees_its_output() -> None:
    freed: list[ObjectKey] = []
    index = OutputIndex(freed.append)
    take(index, "old", "s3://b/x", age=2)
    take(index, "young", "s3://b/x", age=1)
    index.remove(key("old"))
    assert freed == [key("young")]
    assert index.holder(key("young")) is None


def test_an_output_that_moves_frees_the_old_place() -> None:
    index = OutputIndex()
    take(index, "old", "s3://b/x", age=2)
    take(index, "young", "s3://b/x", age=1)
    take(index, "old", "s3://b/elsewhere", age=2)
    assert index.holder(key("young")) is None


@given(st.lists(st.tuples(st.sampled_from(["", "/a", "/a/b", "/a/b/c", "/d"]), st.integers(0, 59)), max_size=8))
def test_never_do_two_overlapping_objects_hold_their_outputs(wanted: list[tuple[str, int]]) -> None:
    index = OutputIndex()
    for number, (path, age) in enumerate(wanted):
        take(index, f"object-{number}", f"s3://b{path}", age=age)
    holders = [number for number in range(len(wanted)) if index.holder(key(f"object-{number}")) is None]
    for one in holders:
        for other in holders:
            paths = (wanted[one][0] + "/", wanted[other][0] + "/")
            assert one == other or not (paths[0].startswith(paths[1]) or paths[1].startswith(paths[0]))
    assert not wanted or holders
