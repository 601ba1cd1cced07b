"""Where the objects stand that another one refers to, and who is woken when that changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import api_objects as raw
import pytest
from plugins import plugins
from reconcile_bench import Bench

from scenewright.planning.inputs import ResolvedInput
from scenewright.reconcile.act.observing import dependencies_of
from scenewright.reconcile.cache.observation import Dependency, ObjectKey
from scenewright.reconcile.cache.plans import PlanningCache
from scenewright.reconcile.cache.projection import observed_object
from scenewright.reconcile.cache.store import ObjectStore

CLUSTER = {"secretName": "keys"}
SCENE = ObjectKey("SceneJob", "lab", "scene")
PUBLISHED = {"hash": "whole", "chosen": {"best": "checkpoints/3.pt@abc"}}


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    with plugins(fitting="toy_fitting:FITTING", tuning="toy_fitting:TUNING"):
        yield


def fitted(**status: Any) -> dict[str, Any]:
    """A SceneJob that uses the best checkpoint of the run `fixer`."""
    return document("scene", {"input": {"uri": "s3://photos/in"}, "fitting": {"tuningRun": "fixer"}}, status)


def tuning(dataset: dict[str, str] | None = None, suspend: bool = False, **status: Any) -> dict[str, Any]:
    spec = {"dataset": dataset or {"uri": "s3://sets/a"}, "tuning": {}, "suspend": suspend}
    return document("fixer", spec, status)


def document(name: str, spec: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    found = raw.scene(name, metadata={"annotations": {}, "generation": 1, "resourceVersion": "7"})
    found["spec"] = {"output": {"uri": f"s3://out/{name}"}, "storage": CLUSTER, **spec}
    found["status"] = {"observedGeneration": 1, **status} if status else {}
    return found


def seen(scene: dict[str, Any], *others: tuple[str, dict[str, Any]]) -> tuple[Dependency, ...]:
    store, plans = ObjectStore(), PlanningCache()
    for kind, each in (("SceneJob", scene), *others):
        store.put(observed_object(each, kind))
    value = observed_object(scene, "SceneJob")
    return dependencies_of(value.key, plans.plan(value), store, plans.plan)


@pytest.mark.parametrize(
    ("run", "state"),
    [
        (tuning(phase="Running"), "Running"),
        (tuning(suspend=True, phase="Suspended"), "Suspended"),
        (
            tuning(phase="Waiting", conditions=[{"type": "Waiting", "status": "True", "reason": "AwaitingSelection"}]),
            "Awaiting",
        ),
        (tuning(phase="Complete", publication=PUBLISHED, observedGeneration=0), "Running"),
        (tuning(phase="Complete", planOnly=True), "PlannedOnly"),
        (tuning(phase="Complete"), "Unpublished"),
        (tuning(phase="Complete", publication={"hash": "whole"}), "NotOffered"),
        (tuning(phase="Failed"), "Failed"),
        (tuning(phase="Complete", publication=PUBLISHED), "Complete"),
    ],
)
def test_where_a_dependency_stands(run: dict[str, Any], state: str) -> None:
    (found,) = seen(fitted(), ("TuningRun", run))
    assert (found.key, found.state, found.input) == (ObjectKey("TuningRun", "lab", "fixer"), state, "checkpoint")
    assert (found.published is not None) == (state == "Complete")


def test_a_complete_dependency_gives_the_place_and_the_hash_of_what_is_wanted() -> None:
    (found,) = seen(fitted(), ("TuningRun", tuning(phase="Complete", publication=PUBLISHED)))
    assert found.published == ResolvedInput("s3://out/fixer", "abc", "checkpoints/3.pt")


def test_a_sweep_offers_nothing_of_its_own_but_names_its_best_child() -> None:
    sweep = {"children": [{"name": "fixer-0"}], "best": "fixer-0"}
    run = tuning(phase="Complete", sweep=sweep)
    run["spec"]["matrix"] = {"parameters": {"execution.seed": [1]}}
    (found,) = seen(fitted(), ("TuningRun", run))
    assert found.state == "NotOffered" and "name a child, such as fixer-0" in found.detail


def test_a_dependency_that_is_not_there_is_missing() -> None:
    assert [each.state for each in seen(fitted())] == ["Missing"]


def test_a_circle_through_other_objects_is_found() -> None:
    pairs = {"input": {"uri": "s3://photos/in"}, "fitting": {"tuningRun": "fixer"}}
    store, plans = ObjectStore(), PlanningCache()
    with plugins(pairs="toy_fitting:FITTED_PAIRS", tuning="toy_fitting:TUNING"):
        for kind, each in (
            ("TuningRun", tuning({"datasetJob": "pairs"}, phase="Waiting")),
            ("DatasetJob", document("pairs", {"input": pairs["input"], "pairs": pairs["fitting"]}, {})),
        ):
            store.put(observed_object(each, kind))
            value = observed_object(each, kind)
        found = dependencies_of(value.key, plans.plan(value), store, plans.plan)
    assert [each.state for each in found] == ["Cycle"]


def test_an_object_that_refers_to_nothing_has_no_dependency() -> None:
    assert seen(document("scene", {"input": {"uri": "s3://photos/in"}, "fitting": {}}, {})) == ()


def test_who_uses_a_publication_is_woken_when_another_one_takes_its_place_and_by_nothing_else() -> None:
    bench = Bench()
    used = {"name": "checkpoint", "object": "TuningRun/fixer", "uri": "s3://out/fixer", "hash": "abc"}
    run = tuning(phase="Complete", publication=PUBLISHED)
    bench.router.take("TuningRun", None, run)
    bench.router.take("SceneJob", None, fitted(phase="Complete", inputs=[used]))

    def woken_by(version: int, digest: str) -> bool:
        added: list[ObjectKey] = []
        bench.queue.add = lambda key, *_: added.append(key)  # type: ignore[method-assign]
        changed = copy.deepcopy(run)
        changed["metadata"]["resourceVersion"] = str(version)
        changed["status"]["publication"] = {"hash": digest}
        bench.router.take("TuningRun", "MODIFIED", changed)
        return SCENE in added

    assert not woken_by(20, "whole")
    assert woken_by(21, "another")
