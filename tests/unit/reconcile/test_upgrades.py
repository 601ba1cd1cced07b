"""An operator of another version, with other defaults and rules, takes over: what has ended stays as it ended."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from simulated_cluster import Cluster, spec_of
from simulated_operator import Operator

from scenewright.api.crds import crd
from scenewright.api.names import RETRY_ANNOTATION
from scenewright.api.status import Status
from scenewright.planning.plan import Plan, make_plan
from scenewright.reconcile.cache.observation import Refusal
from scenewright.reconcile.cache.plans import PlanningCache
from scenewright.reconcile.decide.actions import DeleteJob, DeleteObject

OLD_DEFAULT = {"mode": "coarse", "coarse": {"frames": 7}}
"""As the API server stored it when 7 frames were the default: the old operator's work hash knew nothing of it."""
NOW_REFUSED = {"mode": "coarse", "coarse": {"frames": 10_000}}
"""A value that an older operator took and this one does not."""


def upgraded(cluster: Cluster, block: dict[str, Any]) -> None:
    """The operator is another one now, for which the stored block is no longer what it was for the old one."""
    cluster.spec = {**cluster.spec, "vistadream": block}
    plans = PlanningCache()
    cluster.work = lambda: plans.plan(cluster.object)  # type: ignore[method-assign]


def ended(**changes: Any) -> tuple[Cluster, Operator]:
    """An object whose work has ended under the old operator."""
    cluster = Cluster(spec=spec_of(**changes))
    operator = Operator(cluster)
    assert operator.run().phase == "Complete"
    return cluster, operator


@pytest.mark.parametrize("block", [OLD_DEFAULT, NOW_REFUSED], ids=["changed default", "narrower rule"])
@pytest.mark.parametrize("bad", [frozenset(range(10)), frozenset()], ids=["failed", "complete"])
def test_an_upgrade_changes_nothing_of_what_has_ended(block: dict[str, Any], bad: frozenset[int]) -> None:
    cluster = Cluster(bad_samples=bad)
    operator = Operator(cluster)
    assert operator.run().phase == ("Failed" if bad else "Complete")
    before = copy.deepcopy(cluster.status)
    jobs = list(cluster.jobs)
    upgraded(cluster, block)
    for _ in range(5):
        decision = operator.settle()
        assert decision.actions == ()
        cluster.tick()
    assert cluster.status == before
    assert list(cluster.jobs) == jobs


@pytest.mark.parametrize("block", [OLD_DEFAULT, NOW_REFUSED])
def test_after_an_upgrade_too_an_ended_object_goes_when_its_time_to_live_has_passed(block: dict[str, Any]) -> None:
    cluster, operator = ended(ttlSecondsAfterFinished=600)
    upgraded(cluster, block)
    assert not cluster.deleted
    cluster.now += timedelta(seconds=601)
    assert DeleteObject("courtyard", "uid-1") in operator.settle_once().actions


def test_a_run_continues_although_its_defaults_have_changed() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    while not any(job.seen.step == "depth" for job in cluster.jobs.values()):
        operator.settle()
        cluster.tick()
    run, jobs = operator.status.run, set(cluster.jobs)
    upgraded(cluster, OLD_DEFAULT)
    decision = operator.settle_once()
    assert not [action for action in decision.actions if isinstance(action, DeleteJob)]
    assert operator.run().phase == "Complete"
    assert (operator.status.run, operator.status.starts) == (run, 1)
    assert jobs <= set(cluster.jobs)


@pytest.mark.parametrize(
    "change",
    [
        lambda cluster: cluster.edit_execution(seed=7),
        lambda cluster: cluster.annotations.update({RETRY_ANNOTATION: "again"}),
    ],
    ids=["edited", "asked to try again"],
)
def test_who_asks_for_other_work_gets_it_by_the_new_rules(change: Callable[[Cluster], None]) -> None:
    cluster, operator = ended(storage={"secretName": "lab-s3"})
    upgraded(cluster, OLD_DEFAULT)
    change(cluster)
    assert operator.run().phase == "Complete"
    assert operator.status.starts == 2
    fresh = make_plan({**DOCUMENT, "spec": cluster.spec})
    again = PlanningCache().plan(replace(cluster.object, status=Status()))
    assert isinstance(again, Plan)
    assert operator.status.effective.work_hash in (fresh.work_hash, again.work_hash)


def test_new_work_that_this_operator_refuses_fails() -> None:
    cluster, operator = ended()
    upgraded(cluster, NOW_REFUSED)
    cluster.generation += 1
    operator.settle()
    assert isinstance(cluster.work(), Refusal)
    assert operator.status.phase == "Failed"


DOCUMENT = {"apiVersion": "scenewright.io/v1alpha1", "kind": "SceneJob", "metadata": {"name": "courtyard"}}


def as_stored(schema: dict[str, Any], value: Any) -> Any:
    """The value with the schema's defaults, which the API server writes into every object that it stores."""
    if isinstance(value, list):
        return [as_stored(schema.get("items", {}), each) for each in value]
    if not isinstance(value, dict):
        return value
    children = schema.get("properties", {})
    filled = {**{name: child["default"] for name, child in children.items() if "default" in child}, **value}
    return {name: as_stored(children.get(name, {}), each) for name, each in filled.items()}


def test_the_defaults_that_the_api_server_stores_are_no_other_work() -> None:
    schema = crd("SceneJob")["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    stored = as_stored(schema, spec_of())
    assert stored["vistadream"]["coarse"]["frames"] > 0, "defaults are written out"
    given, found = make_plan({**DOCUMENT, "spec": spec_of()}), make_plan({**DOCUMENT, "spec": stored})
    assert (found.work_hash, found.keys) == (given.work_hash, given.keys)


STORED: dict[str, Any] = {"storage": {"secretName": "lab"}}


def with_lab(cluster: Cluster, defaults: dict[str, Any]) -> None:
    """The lab's defaults from now on."""
    plans = PlanningCache(defaults=defaults)
    cluster.work = lambda: plans.plan(cluster.object)  # type: ignore[method-assign]


def test_a_run_keeps_the_lab_s_defaults_that_it_began_with_and_so_does_its_retry() -> None:
    cluster = Cluster(bad_samples=frozenset(range(10)))
    with_lab(cluster, {**STORED, "models": {"cacheClaim": "old"}, "vistadream": {"coarse": {"frames": 2}}})
    operator = Operator(cluster)
    assert operator.run().phase == "Failed"
    began = {
        "storage": '{"secretName": "lab"}',
        "models.cacheClaim": '"old"',
        "vistadream.coarse.frames": "2",
    }
    assert operator.status.effective.defaults == began
    before = copy.deepcopy(cluster.status)
    with_lab(cluster, {**STORED, "models": {"cacheClaim": "new"}, "vistadream": {"coarse": {"frames": 3}}})
    for _ in range(3):
        assert operator.settle().actions == ()
        cluster.tick()
    assert cluster.status == before
    cluster.annotations[RETRY_ANNOTATION] = "again"
    operator.run()
    assert operator.status.starts == 2
    assert operator.status.effective.defaults == began


def test_new_work_takes_the_lab_s_defaults_of_its_day() -> None:
    cluster, operator = ended()
    with_lab(cluster, {**STORED, "models": {"cacheClaim": "new"}})
    assert operator.settle().actions == ()
    cluster.edit(vistadream={"mode": "coarse", "coarse": {"frames": 4}})
    operator.run()
    assert operator.status.effective.defaults["models.cacheClaim"] == '"new"'
