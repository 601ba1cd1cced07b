"""Objects with a matrix: children for each combination, one table of how they end, and the best of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from simulated_cluster import BEGIN, spec_of

from scenewright.api.names import SWEEP
from scenewright.api.status import StageStatus, Status
from scenewright.planning.plan import Plan, make_plan
from scenewright.planning.problems import SpecError
from scenewright.reconcile.cache.observation import Observed, ObservedJob, ObservedObject
from scenewright.reconcile.cache.projection import observed_object
from scenewright.reconcile.decide import DecideSettings, decide
from scenewright.reconcile.decide.actions import ApplyChild, DeleteJob, DeleteObject, EmitEvent

MATRIX = {
    "parameters": {"coarse.frames": [5, 7], "execution.seed": [1, 2]},
    "best": {"metric": "psnr", "goal": "Maximize"},
}


class World:
    """A sweep and what the API server makes of its children."""

    def __init__(self, matrix: dict[str, Any] = MATRIX, **spec: Any) -> None:
        self.spec = spec_of(matrix=matrix, **spec)
        self.status, self.generation = Status(), 1
        self.children: dict[str, ObservedObject] = {}
        self.now = BEGIN
        self.events: list[EmitEvent] = []

    @property
    def object(self) -> ObservedObject:
        return ObservedObject(
            "SceneJob", "lab", "sweep", "uid-sweep", self.generation, "1", BEGIN, spec=self.spec, status=self.status
        )

    def plan(self) -> Plan:
        document = {
            "apiVersion": "scenewright.io/v1alpha1",
            "kind": "SceneJob",
            "metadata": {"name": "sweep", "namespace": "lab"},
            "spec": self.spec,
        }
        return make_plan(document)

    def turn(self) -> list[str]:
        """One decision, carried out; the names of children that were applied."""
        decision = decide(Observed(self.object, self.plan(), children=self.children), DecideSettings(), self.now)
        applied = []
        for action in decision.actions:
            if isinstance(action, ApplyChild):
                applied.append(self._apply(dict(action.document)))
            elif isinstance(action, DeleteObject):
                del self.children[action.name]
            elif isinstance(action, EmitEvent):
                self.events.append(action)
        assert decision.status is not None
        self.status = decision.status
        self.now += timedelta(seconds=5)
        return applied

    def _apply(self, document: dict[str, Any]) -> str:
        name = str(document["metadata"]["name"])
        known = self.children.get(name)
        generation = known.generation + 1 if known else 1
        metadata = {"uid": f"uid-{name}", "resourceVersion": "1", "creationTimestamp": BEGIN.isoformat()}
        raw = {**document, "metadata": {**document["metadata"], **metadata, "generation": generation}}
        found = observed_object(raw, "SceneJob")
        self.children[name] = replace(found, status=known.status if known else Status())
        return name

    def end(self, name: str, phase: str = "Complete", **numbers: float) -> None:
        stages = [StageStatus(name="coarse", numbers={"loss": 1.0}), StageStatus(name="render", numbers=numbers)]
        child = self.children[name]
        status = Status(phase=phase, observed_generation=child.generation, stages=stages)  # type: ignore[arg-type]
        self.children[name] = replace(child, status=status)


def test_each_combination_becomes_an_object_that_the_sweep_owns() -> None:
    world = World()
    assert world.turn() == ["sweep-0", "sweep-1", "sweep-2", "sweep-3"]
    assert world.turn() == [], "what is there already is not applied again"
    third = world.children["sweep-2"]
    assert (third.spec["vistadream"]["coarse"]["frames"], third.spec["execution"]["seed"]) == (7, 1)
    assert third.spec["output"]["uri"] == "s3://scenes/curated/2" and "matrix" not in third.spec
    assert third.owner_uid == "uid-sweep" and third.labels[SWEEP] == "sweep"
    assert world.status.phase == "Running" and world.status.run == ""
    assert [row.parameters for row in world.status.sweep.children][1] == {  # type: ignore[union-attr]
        "coarse.frames": "5",
        "execution.seed": "2",
    }


@pytest.mark.parametrize(("goal", "best"), [("Maximize", "sweep-3"), ("Minimize", "sweep-0")])
def test_results_are_one_table_and_the_best_is_named(goal: str, best: str) -> None:
    world = World({**MATRIX, "best": {"metric": "psnr", "goal": goal}})
    world.turn()
    for number, name in enumerate(sorted(world.children)):
        world.end(name, **({} if number == 1 else {"psnr": 20.0 + number}))
    world.turn()
    sweep = world.status.sweep
    assert sweep is not None and (world.status.phase, sweep.best) == ("Complete", best)
    assert [row.metric for row in sweep.children] == [20.0, None, 22.0, 23.0]
    assert world.events[-1].reason == "Complete" and best in world.events[-1].message


def test_one_that_fails_does_not_fail_the_others_but_all_do() -> None:
    world = World()
    world.turn()
    names = sorted(world.children)
    world.end(names[0], "Failed", psnr=99.0)
    for name in names[1:]:
        world.end(name, psnr=1.0)
    world.turn()
    assert world.status.phase == "Complete" and world.status.sweep.best != names[0]  # type: ignore[union-attr]
    other = World()
    other.turn()
    for name in names:
        other.end(name, "Failed")
    other.turn()
    failed = next(each for each in other.status.conditions if each.type == "Failed")
    assert (other.status.phase, failed.reason) == ("Failed", "NoChildComplete")


def test_an_edit_reaches_the_children_and_removes_those_that_are_gone() -> None:
    world = World()
    world.turn()
    for name in world.children:
        world.end(name, psnr=1.0)
    world.turn()
    assert world.status.phase == "Complete"
    world.spec = spec_of(matrix={"parameters": {"coarse.frames": [5, 9]}})
    world.generation += 1
    assert world.turn() == ["sweep-0", "sweep-1"]
    assert sorted(world.children) == ["sweep-0", "sweep-1"]
    assert world.status.phase == "Running", "children that have not seen their new spec do not count as ended"


def test_suspension_is_handed_on() -> None:
    world = World()
    world.turn()
    world.spec, world.generation = {**world.spec, "suspend": True}, 2
    assert len(world.turn()) == 4
    assert all(child.spec["suspend"] for child in world.children.values())
    for name in world.children:
        world.end(name, "Suspended")
    world.turn()
    suspended = next(each for each in world.status.conditions if each.type == "Suspended")
    assert suspended.status == "True"


def test_an_object_of_somebody_else_is_never_taken_over() -> None:
    world = World()
    world.turn()
    child = world.children["sweep-1"]
    world.children["sweep-1"] = replace(child, owner_uid="", annotations={})
    assert world.turn() == []
    assert (world.status.phase, world.status.reason) == ("Waiting", "ChildNameTaken")


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ({"coarse.frame": [1]}, "did you mean 'frames'"),
        ({"output.uri": ["s3://a-bucket/b"]}, "cannot vary"),
        ({"coarse.frames": [-3]}, "coarse.frames"),
        ({"coarse.frames": list(range(1, 17)), "execution.seed": list(range(5))}, "more than 64"),
        ({}, "spec.matrix.parameters"),
    ],
)
def test_a_matrix_that_cannot_work_is_refused_by_name(parameters: dict[str, Any], word: str) -> None:
    with pytest.raises(SpecError) as caught:
        World({"parameters": parameters}).plan()
    assert word in str(caught.value)


def test_without_a_matrix_no_work_hash_changes() -> None:
    document = {"apiVersion": "scenewright.io/v1alpha1", "kind": "SceneJob", "metadata": {"name": "a"}}
    plain = make_plan({**document, "spec": spec_of()})
    assert plain.children == () and plain.work_hash == make_plan({**document, "spec": spec_of(matrix=None)}).work_hash
    assert plain.work_hash != make_plan({**document, "spec": spec_of(matrix=MATRIX)}).work_hash


def test_texts_are_read_as_numbers_also_with_an_exponent() -> None:
    plan = World({"parameters": {"initialize.opacity": ["5e-1", "0.25"]}}).plan()
    assert [child.document["spec"]["vistadream"]["initialize"]["opacity"] for child in plan.children] == [0.5, 0.25]


def test_an_object_that_becomes_a_sweep_ends_its_own_jobs() -> None:
    world = World()
    job = ObservedJob("lab", "s-sweep-x-coarse", "uid-job", "uid-sweep", "coarse", "r-1", "hash", BEGIN)
    decision = decide(Observed(world.object, world.plan(), (job,)), DecideSettings(), world.now)
    assert [action.name for action in decision.actions if isinstance(action, DeleteJob)] == ["s-sweep-x-coarse"]
