"""Objects of a namespace that run at once: a limit, an order, and no place held by what could not start."""

from __future__ import annotations

from typing import Any

import api_objects as raw
import pytest

from scenewright.reconcile.cache.line import Line
from scenewright.reconcile.cache.observation import ObjectKey, ObservedObject
from scenewright.reconcile.cache.projection import observed_object


def scene(name: str, namespace: str = "lab", priority: str = "", **status: Any) -> ObservedObject:
    metadata = {"namespace": namespace, "creationTimestamp": f"2026-11-21T09:00:{len(name):02d}Z"}
    spec = {"scheduling": {"priorityClassName": priority}} if priority else {}
    made = raw.scene(name, metadata=metadata, spec=spec)
    made["status"] = {"observedGeneration": 2, **status}
    return observed_object(made, "SceneJob")


def waits(reason: str) -> dict[str, Any]:
    return {"phase": "Waiting", "conditions": [{"type": "Waiting", "status": "True", "reason": reason}]}


RUNNING = {"phase": "Running", "run": "r-1"}


class Bench:
    def __init__(self, **limits: int) -> None:
        self.freed: list[str] = []
        self.line = Line(lambda key: self.freed.append(key.name), limits, {"urgent": 10})

    def take(self, *values: ObservedObject) -> None:
        for value in values:
            self.line.update(value)

    def may_start(self, *names: str, namespace: str = "lab") -> list[str]:
        return [name for name in names if not self.line.ahead(ObjectKey("SceneJob", namespace, name))]


def test_without_a_limit_everybody_starts() -> None:
    bench = Bench()
    bench.take(scene("a"), scene("bb"))
    assert bench.may_start("a", "bb", "unknown") == ["a", "bb", "unknown"]


def test_the_oldest_start_first_and_the_urgent_before_them() -> None:
    bench = Bench(lab=2)
    bench.take(scene("a"), scene("bb"), scene("ccc", priority="urgent"))
    assert bench.may_start("a", "bb", "ccc") == ["a", "ccc"]
    bench.line.claim(ObjectKey("SceneJob", "lab", "ccc"))
    assert bench.may_start("a", "bb") == ["a"]
    bench.line.claim(ObjectKey("SceneJob", "lab", "a"))
    assert "2 objects" in bench.line.ahead(ObjectKey("SceneJob", "lab", "bb"))


@pytest.mark.parametrize("end", [{"phase": "Complete"}, {"phase": "Failed"}, waits("BudgetReached")])
def test_an_end_or_a_rest_wakes_the_next(end: dict[str, Any]) -> None:
    bench = Bench(lab=1)
    bench.take(scene("a", **RUNNING), scene("bb"), scene("ccc"))
    assert bench.may_start("bb", "ccc") == []
    bench.take(scene("a", **end))
    assert bench.freed == ["bb"] and bench.may_start("bb", "ccc") == ["bb"]


@pytest.mark.parametrize("reason", ["DependencyRunning", "OutputBusy", "AwaitingSelection"])
def test_what_waits_for_something_else_holds_nobody_off(reason: str) -> None:
    bench = Bench(lab=1)
    bench.take(scene("a", **waits(reason)), scene("bb"))
    assert bench.may_start("bb") == ["bb"]
    bench.take(scene("a", **waits("TooManyObjects")))
    assert bench.may_start("a", "bb") == ["a"], "the older one comes first once it is in line"


def test_what_has_just_ceased_to_wait_may_use_a_free_place() -> None:
    bench = Bench(lab=2)
    bench.take(scene("a", **waits("DependencyRunning")), scene("bb"))
    assert bench.may_start("a", "bb") == ["a", "bb"]


def test_namespaces_have_limits_of_their_own_and_the_others_a_common_one() -> None:
    bench = Bench(**{"lab": 1, "*": 2})
    values = [scene(name, namespace) for namespace in ("lab", "far") for name in ("a", "bb", "ccc")]
    bench.take(*values)
    assert bench.may_start("a", "bb", "ccc") == ["a"]
    assert bench.may_start("a", "bb", "ccc", namespace="far") == ["a", "bb"]


def test_a_deleted_object_and_a_claim_without_a_run_free_their_places() -> None:
    bench = Bench(lab=1)
    key = ObjectKey("SceneJob", "lab", "a")
    bench.take(scene("a"), scene("bb"))
    bench.line.claim(key)
    bench.line.release(key)
    assert bench.freed == ["bb"]
    bench.take(scene("a", **RUNNING))
    bench.line.remove(key)
    assert bench.may_start("bb") == ["bb"]
