"""The sweep finds what watches have missed, and what a restore of etcd has taken back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import api_objects as raw
import pytest
from reconcile_bench import Bench

from scenewright.kube.client import ApiError, Client
from scenewright.kube.resources import JOBS
from scenewright.reconcile.cache.observation import ObjectKey
from scenewright.reconcile.cache.projection import observed_job
from scenewright.reconcile.lease import Leadership, NotLeading
from scenewright.reconcile.main import Operator
from scenewright.reconcile.watch.informer import Informer
from scenewright.reconcile.watch.namespaces import NamespaceSelection
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


class Refusing(Lister):
    """Some namespaces are gone, and the rights in them with their Roles."""

    def __init__(self, refused: set[str], status: int) -> None:
        super().__init__(450, scene("yard", 300))
        self.refused, self.status, self.asked = refused, status, list[str]()

    async def pages(self, resource: Any, namespace: str = "", **__: Any) -> AsyncIterator[dict[str, Any]]:
        self.asked.append(namespace)
        if namespace in self.refused:
            raise ApiError(self.status, "Forbidden", f"cannot list {resource.plural} in {namespace}")
        async for page in super().pages(resource):
            yield page


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize("namespaces", [["gone", "lab"], ["lab", "gone"], ["gone", "lab", "away"]])
def test_a_namespace_that_refuses_does_not_hold_off_the_others(status: int, namespaces: list[str]) -> None:
    bench, lister = Bench(), Refusing({"gone", "away"}, status)
    sweep = Sweep(cast(Client, lister), bench.router, namespaces, 1000.0, lambda: None)

    async def filled() -> int:
        async with asyncio.timeout(1.0):
            return await sweep.fill()

    assert asyncio.run(filled()) == 1
    assert known(bench) == {"yard": (300, 2)}
    served = {
        each: REGISTRY.get_sample_value("scenewright_namespace_served", {"namespace": each}) for each in namespaces
    }
    assert served == {each: float(each == "lab") for each in namespaces}
    lister.refused.clear()
    lister.asked.clear()
    asyncio.run(filled())
    assert set(lister.asked) == set(namespaces), "a namespace that comes back is found by the next sweep"


def test_while_every_namespace_refuses_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenewright.reconcile.watch.sweep._RETRY_SECONDS", 0.01)
    lister = Refusing({"lab"}, 404)
    sweep = Sweep(cast(Client, lister), Bench().router, ["lab"], 1000.0, lambda: None)

    async def filled() -> int:
        filling = asyncio.create_task(sweep.fill())
        await asyncio.sleep(0.05)
        assert not filling.done(), "the CRDs may be applied after the operator"
        lister.refused.clear()
        async with asyncio.timeout(1.0):
            return await filling

    assert asyncio.run(filled()) == 1


def test_an_informer_whose_namespace_refuses_has_answered_and_goes_on_asking() -> None:
    async def followed() -> None:
        lister = Refusing({"gone"}, 403)
        informer = Informer(cast(Client, lister), JOBS, Bench().jobs, observed_job, "managed=true", "gone")
        running = asyncio.create_task(informer.run())
        async with asyncio.timeout(1.0):
            await informer.answered.wait()
        assert not informer.synced
        running.cancel()

    asyncio.run(followed())


def test_nothing_is_decided_in_a_namespace_whose_jobs_are_not_known() -> None:
    bench = Bench()
    bench.put("yard", age=1)
    blind = replace(bench.reconciler, serves=lambda namespace: namespace != "lab")
    assert asyncio.run(blind.reconcile(YARD)) is not None
    assert not bench.notes.created
    asyncio.run(bench.reconciler.reconcile(YARD))
    assert bench.notes.created == ["yard"]


class Following:
    """Has lost the Lease."""

    def check(self) -> None:
        raise NotLeading


def test_who_has_lost_the_lease_decides_nothing() -> None:
    bench = Bench()
    bench.put("yard", age=1)
    operator = Operator.__new__(Operator)
    operator.leadership = cast(Leadership, Following())
    operator.selected, operator._informers = cast(NamespaceSelection, ("lab",)), {"": []}
    with pytest.raises(NotLeading):
        asyncio.run(replace(bench.reconciler, serves=operator._serves).reconcile(YARD))
    assert not bench.notes.created


class Labelled:
    """Lists the namespaces that have the label."""

    def __init__(self, *names: str) -> None:
        self.names, self.asked = list(names), list[str]()

    async def pages(self, resource: Any, labelSelector: str) -> AsyncIterator[dict[str, Any]]:
        self.asked.append(f"{resource.path()} {labelSelector}")
        yield {"items": [{"metadata": {"name": name}} for name in self.names]}


def test_namespaces_are_served_by_their_labels_as_they_come_and_go() -> None:
    server, woken = Labelled("lab"), list[str]()
    selection = NamespaceSelection(cast(Client, server), "scenewright=served", woken.append, lambda: None)
    assert "lab" not in selection
    asyncio.run(selection.refresh())
    assert "lab" in selection and "other" not in selection
    server.names = ["other"]
    asyncio.run(selection.refresh())
    assert "lab" not in selection and "other" in selection
    assert woken == ["lab", "other"], "what is there is looked at at once"
    assert set(server.asked) == {"/api/v1/namespaces scenewright=served"}
    assert "any" in NamespaceSelection(cast(Client, server), "", woken.append, lambda: None)


def test_a_namespace_that_gets_the_label_has_its_objects_queued() -> None:
    bench = Bench()
    bench.put("yard", age=1)
    asyncio.run(bench.queue.get(0.0))
    bench.queue.done(YARD)
    bench.router.resync(0.0, "elsewhere")
    assert len(bench.queue) == 0
    bench.router.resync(0.0, "lab")
    assert asyncio.run(bench.queue.get(0.0)) == YARD
