"""The sweep finds what watches have missed, and what a restore of etcd has taken back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import api_objects as raw
import pytest
from reconcile_bench import Bench

from scenewright.kube.client import Client
from scenewright.reconcile.cache.observation import ObjectKey
from scenewright.reconcile.watch.sweep import Sweep
from scenewright.telemetry.metrics import REGISTRY

YARD = ObjectKey("SceneJob", "lab", "yard")


class Lister:
    """Lists SceneJobs at a version; `meanwhile` happens while the list is on its way."""

    def __init__(self, version: int, *items: dict[str, Any], meanwhile: Any = None) -> None:
        self.version, self.items, self.meanwhile = version, items, meanwhile

    async def pages(self, resource: Any, *_: Any, **__: Any) -> AsyncIterator[dict[str, Any]]:
        items = list(self.items) if resource.plural == "scenejobs" else []
        if self.meanwhile is not None and resource.plural == "scenejobs":
            self.meanwhile()
        yield {"metadata": {"resourceVersion": str(self.version)}, "items": items}


def compared(bench: Bench, lister: Lister) -> int:
    sweep = Sweep(cast(Client, lister), bench.router, [""], 1000.0, lambda: None)
    return asyncio.run(sweep.fill())


def scene(name: str, version: int, generation: int = 2) -> dict[str, Any]:
    metadata = {"resourceVersion": str(version), "generation": generation}
    return {**raw.scene(name, metadata=metadata), "kind": "SceneJob"}


def known(bench: Bench) -> dict[str, tuple[int, int]]:
    return {each.key.name: (each.version, each.generation) for each in bench.objects}


def test_after_a_restore_of_etcd_older_versions_are_the_truth_and_what_came_later_is_gone() -> None:
    bench = Bench()
    for content in (scene("yard", 900, generation=3), scene("later", 950)):
        bench.router.take("SceneJob", "MODIFIED", content)
    compared(bench, Lister(400, scene("yard", 300)))
    assert known(bench) == {"yard": (300, 2)}
    bench.router.take("SceneJob", "MODIFIED", scene("yard", 410, generation=3))
    assert known(bench) == {"yard": (410, 3)}, "from then on versions count from there"


def test_a_plan_of_before_the_restore_is_not_taken_for_the_same_generation_of_another_spec() -> None:
    bench = Bench()
    bench.router.take("SceneJob", "MODIFIED", scene("yard", 900, generation=3))
    first = bench.observed(YARD).work
    compared(bench, Lister(400, scene("yard", 300)))
    other = scene("yard", 410, generation=3)
    other["spec"]["execution"] = {"seed": 7}
    bench.router.take("SceneJob", "MODIFIED", other)
    assert bench.observed(YARD).work != first


def test_a_list_that_is_older_than_what_came_meanwhile_takes_nothing_back() -> None:
    bench = Bench()
    bench.router.take("SceneJob", "MODIFIED", scene("yard", 300))

    def meanwhile() -> None:
        bench.router.take("SceneJob", "MODIFIED", scene("yard", 500, generation=3))
        bench.router.take("SceneJob", "ADDED", scene("new", 501))

    compared(bench, Lister(450, scene("yard", 300), meanwhile=meanwhile))
    assert known(bench) == {"yard": (500, 3), "new": (501, 2)}


def age() -> float:
    labels = {"resource": "scenejobs", "watched_namespace": ""}
    found = REGISTRY.get_sample_value("scenewright_watch_last_event_age_seconds", labels)
    assert found is not None
    return found


def test_the_watch_of_our_kinds_has_an_age_that_grows_while_it_does_not_tell_of_our_writes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench, now = Bench(), [1000.0]
    monkeypatch.setattr("scenewright.reconcile.watch.routing.time.monotonic", lambda: now[0])
    bench.router.take_watched("SceneJob", "ADDED", scene("yard", 300))
    now[0] += 600.0
    assert age() == 0.0, "nobody has changed anything"
    bench.router.take_own_write(scene("yard", 310))
    now[0] += 200.0
    bench.router.take_own_write(scene("yard", 320))
    now[0] += 200.0
    assert age() == 400.0, "since the oldest write that was not reported"
    compared(bench, Lister(330, scene("yard", 320)))
    assert age() == 400.0, "the sweep is no sign of life of the watch"
    bench.router.take_watched("SceneJob", "MODIFIED", scene("yard", 320))
    assert age() == 0.0


@pytest.mark.parametrize("event", ["DELETED", None])
def test_an_object_that_is_gone_is_waited_for_no_longer(event: str | None) -> None:
    bench = Bench()
    bench.router.take_watched("SceneJob", "ADDED", scene("yard", 300))
    bench.router.take_own_write(scene("yard", 310))
    if event:
        bench.router.take_watched("SceneJob", event, scene("yard", 305))
    else:
        compared(bench, Lister(330))
    assert age() == 0.0


def test_an_answer_to_a_write_brings_back_no_object_that_is_gone() -> None:
    bench = Bench()
    bench.router.take_watched("SceneJob", "ADDED", scene("yard", 300))
    bench.router.take_watched("SceneJob", "DELETED", scene("yard", 320))
    bench.router.take_own_write(scene("yard", 310))
    assert len(bench.router.objects) == 0


def test_an_event_that_came_before_the_answer_to_the_write_is_its_report() -> None:
    bench = Bench()
    bench.router.take_watched("SceneJob", "ADDED", scene("yard", 300))
    bench.router.take_watched("SceneJob", "MODIFIED", scene("yard", 310))
    bench.router.take_own_write(scene("yard", 310))
    assert age() == 0.0
