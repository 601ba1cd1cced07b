"""Objects with equal or nested outputs run one at a time, the oldest first, and nobody is thrown out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import api_objects as raw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugins import plugins

from scenewright.api.uris import contains, normalised
from scenewright.reconcile.cache.observation import ObjectKey, ObservedJob
from scenewright.reconcile.cache.outputs import OutputIndex
from scenewright.reconcile.cache.projection import observed_job, observed_object

KINDS = {"pairs": "DatasetJob", "tuning": "TuningRun"}
"""Of blocks other than those of a SceneJob; ``pairs`` keeps the folder ``tuning_runs/`` for others."""


PLACE = "lab/lab-s3 s3://b/x"


def key(name: str, kind: str = "SceneJob", namespace: str = "lab") -> ObjectKey:
    return ObjectKey(kind, namespace, name)


@pytest.fixture
def hosting() -> Iterator[None]:
    with plugins(pairs="toy_fitting:PAIRS", tuning="toy_fitting:TUNING"):
        yield


def take(
    index: OutputIndex,
    name: str,
    uri: str,
    block: str = "vistadream",
    age: int = 0,
    phase: str = "",
    suspend: bool = False,
    seen: int = 2,
    run: str = "",
    waits: str = "",
    secret: str = "lab-s3",
    namespace: str = "lab",
    place: str = "",
    hosts: tuple[str, ...] = (),
) -> None:
    """Puts an object into the index; a larger age is older."""
    document = raw.scene(
        name,
        metadata={"creationTimestamp": f"2026-11-21T10:{59 - age:02d}:00Z", "namespace": namespace},
        spec={
            "output": {"uri": uri},
            "suspend": suspend,
            "storage": {"secretName": secret} if secret else {},
            block: {},
        },
        status={
            "phase": phase,
            "observedGeneration": seen,
            "run": run,
            "writing": {"place": place, "hosts": list(hosts)},
            "conditions": [{"type": "Waiting", "status": "True", "reason": waits}] if waits else [],
        },
    )
    index.update(observed_object(document, KINDS.get(block, "SceneJob")))


def job_of(name: str, namespace: str = "lab", suspend: bool = False, claims: str = "", **status: object) -> ObservedJob:
    """A Job of an object, which may claim a place in an annotation as no Job of the operator does."""
    document = raw.job(**status)
    document["metadata"] |= {"name": f"s-{name}", "uid": f"{name}-job", "namespace": namespace}
    document["metadata"]["annotations"] = {"scenewright.io/output": claims}
    document["spec"]["suspend"] = suspend
    document["metadata"]["ownerReferences"][0] |= {"name": name, "uid": f"{name}-uid"}
    found = observed_job(document)
    assert found is not None
    return found


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
    assert not contains("s3://bucket", "s3://bucket-two/a")
    assert not contains("s3://bucket/a", "s3://bucket/ab")
    assert contains("s3://bucket", "s3://bucket/a")


@pytest.mark.parametrize(
    ("first", "second"),
    [("s3://b/x", "s3://b/x/"), ("s3://b/x", "s3://b/x/y/z"), ("s3://b/x/y/z", "s3://b/x"), ("s3://b", "s3://b/x")],
)
def test_the_older_of_two_overlapping_outputs_goes_first(first: str, second: str) -> None:
    index = OutputIndex(print)
    take(index, "young", second, age=1)
    take(index, "old", first, age=2)
    assert index.holder(key("young")) == key("old")
    assert index.holder(key("old")) is None


@pytest.mark.parametrize(("first", "second"), [("s3://b/x", "s3://b/xy"), ("s3://b/x", "s3://c/x")])
def test_outputs_beside_each_other_do_not_wait(first: str, second: str) -> None:
    index = OutputIndex(print)
    take(index, "old", first, age=2)
    take(index, "young", second, age=1)
    assert index.holder(key("young")) is None


def test_what_has_begun_is_not_thrown_out_by_an_older_one() -> None:
    index = OutputIndex(print)
    take(index, "young", "s3://b/x", age=1)
    index.claim(key("young"))
    take(index, "old", "s3://b/x", age=2)
    assert index.holder(key("old")) == key("young")
    assert index.holder(key("young")) is None


@pytest.mark.parametrize("phase", ["Running", "Waiting"])
def test_after_a_restart_the_one_that_has_a_run_keeps_its_output_even_while_a_stage_is_queued(phase: str) -> None:
    index = OutputIndex(print)
    take(index, "old", "s3://b/x", age=2)
    take(index, "young", "s3://b/x", age=1, phase=phase, run="1a2b3c4d-1")
    assert index.holder(key("old")) == key("young")
    assert index.holder(key("young")) is None


@pytest.mark.parametrize("phase", ["Complete", "Failed"])
def test_an_ended_object_frees_its_output_and_the_others_are_reported(phase: str) -> None:
    freed: list[ObjectKey] = []
    index = OutputIndex(freed.append)
    take(index, "old", "s3://b/x", age=2)
    take(index, "young", "s3://b/x/y", age=1)
    index.claim(key("old"))
    take(index, "old", "s3://b/x", age=2, phase=phase, run="1-1")
    assert freed == [key("young")]
    assert index.holder(key("young")) is None


def test_an_end_of_an_earlier_generation_is_no_end() -> None:
    index = OutputIndex(print)
    take(index, "old", "s3://b/x", age=2, phase="Complete", seen=1)
    take(index, "young", "s3://b/x", age=1)
    assert index.holder(key("young")) == key("old")


def test_an_ended_object_that_is_asked_to_try_again_waits_for_whoever_writes_now() -> None:
    """The annotation changes no generation: its end is none any more all the same."""
    index = OutputIndex(print)
    take(index, "young", "s3://b/x", age=1)
    index.claim(key("young"))
    document = raw.scene(
        "old",
        metadata={"creationTimestamp": "2026-11-21T10:57:00Z", "annotations": {"scenewright.io/retry": "4"}},
        spec={"output": {"uri": "s3://b/x"}},
        status={"phase": "Complete", "run": "1-1", "retryTokens": ["3"], "effective": {"workHash": "0" * 16}},
    )
    index.update(observed_object(document, "SceneJob"))
    assert index.holder(key("old")) == key("young")


def test_a_suspended_object_keeps_nobody_waiting() -> None:
    index = OutputIndex(print)
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
    index = OutputIndex(print)
    take(index, "old", "s3://b/x", age=2)
    take(index, "young", "s3://b/x", age=1)
    take(index, "old", "s3://b/elsewhere", age=2)
    assert index.holder(key("young")) is None


ENDED_JOB = {"conditions": [{"type": "Failed", "status": "True", "lastTransitionTime": "2026-11-21T11:00:00Z"}]}


@pytest.mark.parametrize(
    "after",
    [
        {"phase": "Suspended", "suspend": True},
        {"phase": "Failed"},
        {"phase": "Running", "run": "1-1", "elsewhere": True},
        {"gone": True},
    ],
    ids=["suspended", "failed", "moved", "deleted"],
)
def test_an_output_is_free_only_when_the_jobs_that_wrote_to_it_are_gone(after: dict[str, Any]) -> None:
    freed: list[ObjectKey] = []
    index = OutputIndex(freed.append)
    take(index, "old", "s3://b/x", age=2, phase="Running", run="1-1")
    job = job_of("old")
    index.note_job(None, job)
    take(index, "young", "s3://b/x/y", age=1)
    if after.pop("gone", False):
        index.forget(key("old"), "old-uid")
    else:
        take(index, "old", "s3://b/elsewhere" if after.pop("elsewhere", False) else "s3://b/x", age=2, **after)
    assert index.holder(key("young")) == key("old")
    freed.clear()
    index.note_job(job, None)
    assert freed == [key("young")]
    assert index.holder(key("young")) is None


def test_a_job_that_has_ended_writes_no_more_and_own_jobs_are_not_waited_for() -> None:
    index = OutputIndex(print)
    take(index, "young", "s3://b/x", age=1)
    index.note_job(None, job_of("young"))
    assert index.holder(key("young")) is None
    take(index, "old", "s3://b/x", age=0, phase="Suspended", suspend=True, place=PLACE)
    job = job_of("old")
    index.note_job(None, job)
    assert index.holder(key("young")) == key("old")
    index.note_job(job, job_of("old", **ENDED_JOB))
    assert index.holder(key("young")) is None


def test_the_jobs_of_a_deleted_object_are_waited_for_by_its_successor_of_the_same_name() -> None:
    index = OutputIndex(print)
    take(index, "yard", "s3://b/x", phase="Running", run="1-1", place=PLACE)
    job = job_of("yard")
    index.note_job(None, job)
    index.forget(key("yard"), "yard-uid")
    successor = raw.scene("yard", metadata={"uid": "second-uid"}, spec={"output": {"uri": "s3://b/x"}})
    index.update(observed_object(successor, "SceneJob"))
    assert index.holder(key("yard")) == key("yard")
    index.note_job(job, None)
    assert index.holder(key("yard")) is None


def test_equal_uris_under_other_secrets_or_in_other_namespaces_are_other_places() -> None:
    index = OutputIndex(print)
    take(index, "old", "s3://b/x", age=2, secret="first")
    take(index, "young", "s3://b/x", age=1, secret="second")
    assert index.holder(key("young")) is None
    take(index, "third", "s3://b/x", age=3, secret="second", namespace="elsewhere", phase="Running", run="1-1")
    index.note_job(None, job_of("third", "elsewhere"))
    assert index.holder(key("young")) is None


@pytest.mark.usefixtures("hosting")
@pytest.mark.parametrize(
    ("inner", "waits"),
    [
        ("s3://b/pairs/tuning_runs/one", False),
        ("s3://b/pairs/tuning_runs/one/deeper", False),
        ("s3://b/pairs/tuning_runs", True),
        ("s3://b/pairs/tuning_runs2/one", True),
        ("s3://b/pairs/images", True),
        ("s3://b/pairs", True),
        ("s3://b", True),
    ],
)
@pytest.mark.parametrize("older", ["pairs", "tuning"])
def test_only_in_the_folders_that_a_pipeline_keeps_for_others_may_others_write(
    inner: str, waits: bool, older: str
) -> None:
    index = OutputIndex(print)
    take(index, "set", "s3://b/pairs", block="pairs", age=2 if older == "pairs" else 1)
    take(index, "run", inner, block="tuning", age=1 if older == "pairs" else 2)
    dataset, run = key("set", "DatasetJob"), key("run", "TuningRun")
    first, second = (dataset, run) if older == "pairs" else (run, dataset)
    assert index.holder(first) is None
    assert index.holder(second) == (first if waits else None)
    for each in (first, second):
        index.claim(each)
    assert (second in index._claims) is not waits


@pytest.mark.usefixtures("hosting")
def test_a_run_that_writes_into_its_data_set_wakes_nobody_there_and_two_such_runs_take_turns() -> None:
    freed: list[ObjectKey] = []
    index = OutputIndex(freed.append)
    take(index, "set", "s3://b/pairs", block="pairs", age=3)
    take(index, "first", "s3://b/pairs/tuning_runs/one", block="tuning", age=2)
    take(index, "second", "s3://b/pairs/tuning_runs/one", block="tuning", age=1)
    assert index.holder(key("second", "TuningRun")) == key("first", "TuningRun")
    index.remove(key("first", "TuningRun"))
    assert freed == [key("second", "TuningRun")]


@pytest.mark.usefixtures("hosting")
def test_the_jobs_of_a_deleted_data_set_keep_its_output_but_not_the_folders_for_others() -> None:
    index = OutputIndex(print)
    take(index, "set", "s3://b/pairs", block="pairs", place="lab/lab-s3 s3://b/pairs", hosts=("tuning_runs/",))
    index.note_job(None, job_of("set"))
    index.forget(key("set", "DatasetJob"), "set-uid")
    take(index, "inside", "s3://b/pairs/images", block="tuning")
    take(index, "run", "s3://b/pairs/tuning_runs/one", block="tuning")
    assert index.holder(key("inside", "TuningRun")) == key("set", "DatasetJob")
    assert index.holder(key("run", "TuningRun")) is None


def test_objects_without_a_secret_share_the_storage_of_the_cluster() -> None:
    index = OutputIndex(print)
    take(index, "old", "s3://b/x", age=2, secret="")
    take(index, "young", "s3://b/x", age=1, secret="")
    assert index.holder(key("young")) == key("old")


def test_to_look_at_an_output_claims_nothing() -> None:
    index = OutputIndex(print)
    take(index, "young", "s3://b/x", age=1)
    assert index.holder(key("young")) is None
    take(index, "old", "s3://b/x", age=2)
    assert index.holder(key("old")) is None
    assert index.holder(key("young")) == key("old")


def test_an_object_that_waits_for_its_dependency_keeps_nobody_waiting() -> None:
    freed: list[ObjectKey] = []
    index = OutputIndex(freed.append)
    take(index, "old", "s3://b/x", age=2)
    take(index, "young", "s3://b/x", age=1)
    assert index.holder(key("young")) == key("old")
    take(index, "old", "s3://b/x", age=2, phase="Waiting", waits="DependencyRunning")
    assert key("young") in freed
    assert index.holder(key("young")) is None
    take(index, "old", "s3://b/x", age=2, phase="Pending")
    assert index.holder(key("young")) == key("old")


def test_an_object_that_has_no_run_any_more_gives_its_output_up() -> None:
    freed: list[ObjectKey] = []
    index = OutputIndex(freed.append)
    take(index, "old", "s3://b/x", age=2)
    take(index, "young", "s3://b/x", age=1)
    index.claim(key("young"))
    assert index.holder(key("old")) == key("young")
    index.release(key("young"))
    assert key("old") in freed
    assert index.holder(key("old")) is None


@pytest.mark.parametrize("owner", ["evil", "nobody"])
@pytest.mark.parametrize("claims", [PLACE, "lab/lab-s3 s3:/", "s3://", "s3://b"])
def test_what_a_job_says_of_itself_claims_nothing(owner: str, claims: str) -> None:
    """A tenant makes a Job that never ends and names another namespace's output, or all of them."""
    index = OutputIndex(print)
    take(index, "evil", "s3://evil/y", namespace="evil", secret="", phase="Running", run="1-1", place="s3://evil/y")
    index.note_job(None, job_of(owner, "evil", claims=claims))
    take(index, "victim", "s3://b/x", age=1)
    take(index, "trusting", "s3://b/x", age=1, secret="")
    assert index.holder(key("victim")) is None
    assert index.holder(key("trusting")) is None


def test_a_job_of_another_namespace_that_names_this_object_as_its_owner_writes_nowhere() -> None:
    index = OutputIndex(print)
    take(index, "old", "s3://b/x", age=2, phase="Suspended", suspend=True, place=PLACE)
    index.note_job(None, job_of("old", "evil"))
    take(index, "young", "s3://b/x", age=1)
    assert index.holder(key("young")) is None


def test_after_a_restart_the_status_says_where_jobs_of_an_earlier_output_still_write() -> None:
    index = OutputIndex(print)
    take(index, "old", "s3://b/elsewhere", age=2, phase="Pending", place=PLACE)
    index.note_job(None, job_of("old"))
    take(index, "young", "s3://b/x/y", age=1)
    assert index.holder(key("young")) == key("old")


SHARED = {"secret": "", "place": "s3://scenes"}


@pytest.mark.parametrize(
    ("state", "waits"),
    [
        ({}, False),
        ({"phase": "Pending"}, False),
        ({"phase": "Waiting", "run": "1-1", "waits": "QueuePending"}, False),
        ({"phase": "Waiting", "run": "1-1", "waits": "QuotaExceeded"}, False),
        ({"phase": "Running", "run": "1-1"}, True),
    ],
)
def test_between_namespaces_only_what_runs_holds_others_off(state: dict[str, Any], waits: bool) -> None:
    index = OutputIndex(print)
    place = SHARED if state else {"secret": ""}
    take(index, "all", "s3://scenes", age=9, namespace="other", **place, **state)
    take(index, "one", "s3://scenes/lab/one", age=1, secret="")
    assert index.holder(key("one")) == (key("all", namespace="other") if waits else None)


@pytest.mark.parametrize("suspended", [True, False])
def test_a_job_that_its_queue_holds_back_holds_no_other_namespace_off(suspended: bool) -> None:
    freed: list[ObjectKey] = []
    index = OutputIndex(freed.append)
    take(index, "all", "s3://scenes", age=9, namespace="other", phase="Waiting", run="1-1", waits="X", **SHARED)
    job = job_of("all", "other")
    index.note_job(None, job)
    take(index, "one", "s3://scenes/lab/one", age=1, secret="")
    take(index, "two", "s3://scenes/lab/two", age=2, secret="")
    assert index.holder(key("one")) == key("all", namespace="other")
    freed.clear()
    index.note_job(job, job_of("all", "other", suspend=suspended))
    assert index.holder(key("one")) == (None if suspended else key("all", namespace="other"))
    assert [each for each in freed if each.namespace == "lab"] == ([key("two"), key("one")] if suspended else [])


def test_within_a_namespace_a_queued_object_keeps_its_output() -> None:
    index = OutputIndex(print)
    take(index, "all", "s3://scenes", age=9, phase="Waiting", run="1-1", waits="QueuePending", **SHARED)
    take(index, "one", "s3://scenes/lab/one", age=1, secret="")
    assert index.holder(key("one")) == key("all")


@given(st.lists(st.tuples(st.sampled_from(["", "/a", "/a/b", "/a/b/c", "/d"]), st.integers(0, 59)), max_size=8))
def test_never_do_two_overlapping_objects_hold_their_outputs(wanted: list[tuple[str, int]]) -> None:
    index = OutputIndex(print)
    for number, (path, age) in enumerate(wanted):
        take(index, f"object-{number}", f"s3://b{path}", age=age)
    holders = []
    for number in range(len(wanted)):
        if index.holder(key(f"object-{number}")) is None:
            index.claim(key(f"object-{number}"))
            holders.append(number)
    for one in holders:
        for other in holders:
            paths = (wanted[one][0] + "/", wanted[other][0] + "/")
            assert one == other or not (paths[0].startswith(paths[1]) or paths[1].startswith(paths[0]))
    assert not wanted or holders
