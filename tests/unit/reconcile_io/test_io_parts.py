"""Events, dependencies, plans, settings and heartbeats of the operator."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any, cast

import api_objects as raw
import pytest

from scenewright.kube.client import ApiError, Client
from scenewright.planning.plan import Plan
from scenewright.planning.problems import SpecError
from scenewright.reconcile.act.deletion import EndingNamespaces
from scenewright.reconcile.act.events import Events
from scenewright.reconcile.cache.observation import ObjectKey, Refusal
from scenewright.reconcile.cache.plans import PlanningCache
from scenewright.reconcile.cache.projection import observed_object
from scenewright.reconcile.cache.store import ObjectStore, Store
from scenewright.reconcile.decide.actions import EmitEvent
from scenewright.reconcile.lease import Leadership, NotLeading
from scenewright.reconcile.settings import load_settings
from scenewright.telemetry.health import Heartbeats


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


class EventServer:
    def __init__(self, error: ApiError | None = None) -> None:
        self.names: list[str] = []
        self.error = error

    async def create(self, _resource: Any, _namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        self.names.append(body["metadata"]["name"])
        if self.error:
            raise self.error
        return body


class Leading:
    def __init__(self, leads: bool = True) -> None:
        self.leads = leads

    def check(self) -> None:
        if not self.leads:
            raise NotLeading


def nothing_ends() -> EndingNamespaces:
    return EndingNamespaces(cast(Client, None), cast(Leadership, Leading()), Store())


def post(
    server: EventServer, *wanted: EmitEvent, leads: bool = True, ending: EndingNamespaces | None = None
) -> list[str]:
    """Names of the Events that reach the API server."""

    async def run() -> None:
        events = Events(cast(Client, server), cast(Leadership, Leading(leads)), ending or nothing_ends(), "operator-0")
        value = observed_object(raw.OBJECT, "SceneJob")
        for event in wanted:
            events.post(value, event)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(events.run(), 0.1)

    asyncio.run(run())
    return server.names


COMPLETE = EmitEvent("Normal", "Complete", "all 16 samples are done")


def test_the_same_event_is_posted_once_and_has_the_same_name_after_a_restart() -> None:
    first = post(EventServer(), COMPLETE, COMPLETE)
    second = post(EventServer(ApiError(409, "AlreadyExists", "exists")), COMPLETE)
    assert len(first) == 1
    assert second == first


def test_an_object_has_a_bounded_number_of_events_and_failing_ones_do_no_harm() -> None:
    server = EventServer(ApiError(500, "", "oh"))
    assert len(post(server, *(EmitEvent("Warning", "Reason", str(n)) for n in range(200)))) == 20


def test_an_event_that_is_refused_tells_that_its_namespace_ends() -> None:
    class Ending:
        def __init__(self) -> None:
            self.told: list[str] = []

        async def noticed(self, namespace: str) -> None:
            self.told.append(namespace)

    def told(message: str) -> list[str]:
        ending = Ending()
        post(EventServer(ApiError(403, "Forbidden", message)), COMPLETE, ending=cast(EndingNamespaces, ending))
        return ending.told

    assert told("unable to create new content in namespace lab because it is being terminated") == ["lab"]
    assert told("events is forbidden") == []


def test_events_that_wait_at_the_end_are_posted_in_time_or_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def drained(server: EventServer, seconds: float) -> None:
        events = Events(cast(Client, server), cast(Leadership, Leading()), nothing_ends(), "operator-0")
        for number in range(5):
            events.post(observed_object(raw.OBJECT, "SceneJob"), EmitEvent("Normal", "Started", str(number)))
        await events.drain(seconds)

    class StallingServer(EventServer):
        async def create(self, *arguments: Any) -> dict[str, Any]:
            if len(self.names) == 2:
                await asyncio.sleep(60.0)
            return await super().create(*arguments)

    quick, stalling = EventServer(), StallingServer()
    asyncio.run(drained(quick, 5.0))
    assert len(quick.names) == 5 and not caplog.records
    asyncio.run(drained(stalling, 1.0))
    assert len(stalling.names) == 2
    assert "were not posted" in caplog.text


def test_an_event_that_was_on_its_way_at_the_end_is_posted_again() -> None:
    class HangingServer(EventServer):
        hangs = True

        async def create(self, *arguments: Any) -> dict[str, Any]:
            if self.hangs:
                await asyncio.sleep(60.0)
            return await super().create(*arguments)

    async def ended_in_mid_request(server: HangingServer) -> None:
        events = Events(cast(Client, server), cast(Leadership, Leading()), nothing_ends(), "operator-0")
        events.post(observed_object(raw.OBJECT, "SceneJob"), COMPLETE)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(events.run(), 0.05)
        server.hangs = False
        await events.drain(1.0)

    server = HangingServer()
    asyncio.run(ended_in_mid_request(server))
    assert len(server.names) == 1


def test_who_does_not_lead_posts_nothing() -> None:
    assert post(EventServer(), COMPLETE, leads=False) == []


def test_a_plan_is_made_once_for_a_generation_and_again_for_a_retry() -> None:
    cache = PlanningCache()
    first = cache.plan(observed_object(raw.scene(), "SceneJob"))
    again = cache.plan(observed_object(raw.scene(metadata={"resourceVersion": "999"}), "SceneJob"))
    retried = cache.plan(
        observed_object(raw.scene(metadata={"annotations": {"scenewright.io/retry": "4"}}), "SceneJob")
    )
    assert isinstance(first, Plan)
    assert isinstance(retried, Plan)
    assert first is again
    assert retried.work_hash != first.work_hash


def test_a_spec_that_cannot_be_planned_is_refused_with_its_problems() -> None:
    found = PlanningCache().plan(observed_object(raw.scene(spec={"vistadream": {"mode": "?"}}), "SceneJob"))
    assert isinstance(found, Refusal)
    assert found.problems[0].field == "spec.vistadream.mode"


@pytest.mark.parametrize(
    ("outputs", "uri", "allowed"),
    [
        ({}, "s3://scenes", True),
        ({"lab": ["s3://scenes/lab/"]}, "s3://scenes/lab", True),
        ({"lab": ["s3://scenes/lab"]}, "s3://scenes/lab/yard", True),
        ({"lab": ["s3://scenes/lab"]}, "s3://scenes", False),
        ({"lab": ["s3://scenes/lab"]}, "s3://scenes/lab/../other", False),
        ({"lab": ["s3://scenes/lab"]}, "s3://scenes/lab2/x", False),
        ({"other": ["s3://scenes"]}, "s3://scenes/x", False),
        ({"*": ["s3://scenes"]}, "s3://scenes/x", True),
        ({"*": ["s3://scenes"], "lab": ["s3://lab"]}, "s3://scenes/x", False),
    ],
)
def test_a_namespace_writes_only_where_the_lab_allows_it(
    outputs: dict[str, list[str]], uri: str, allowed: bool
) -> None:
    found = PlanningCache(outputs=outputs).plan(
        observed_object(raw.scene(spec={"output": {"uri": uri}}, status={"observedGeneration": 1}), "SceneJob")
    )
    fields = [each.field for each in found.problems] if isinstance(found, Refusal) else []
    assert fields == ([] if allowed else ["spec.output.uri"])


def problems_of(environment: dict[str, str] | None = None, **spec: Any) -> dict[str, str]:
    """What the operator refuses, by field."""
    found = PlanningCache(environment).plan(observed_object(raw.scene(spec=spec), "SceneJob"))
    return {each.field: each.remedy for each in found.problems} if isinstance(found, Refusal) else {}


def test_places_on_one_machine_are_refused_in_a_cluster() -> None:
    local = {"input": {"uri": "file:///data/in"}, "output": {"uri": "file:///data/out"}}
    found = problems_of(**local)
    assert set(found) == {"spec.input.uri", "spec.output.uri"}
    assert all("s3://" in remedy for remedy in found.values())


def test_pods_without_any_rights_at_the_storage_are_refused() -> None:
    assert set(problems_of(storage={})) == {"spec.storage"}
    assert not problems_of(storage={"serviceAccountName": "scenes"})
    assert not problems_of({"AWS_ACCESS_KEY_ID": "of-the-lab"}, storage={})


def test_work_that_was_begun_under_older_rules_is_not_held_against_them() -> None:
    begun = {"observedGeneration": 2, "retryTokens": ["3"], "effective": {"workHash": "00ff00ff00ff00ff"}}
    value = observed_object(raw.scene(spec={"storage": {}}, status=begun), "SceneJob")
    plan = PlanningCache().plan(value)
    assert isinstance(plan, Plan)
    assert plan.work_hash == "00ff00ff00ff00ff"
    edited = observed_object(raw.scene(metadata={"generation": 3}, spec={"storage": {}}, status=begun), "SceneJob")
    assert isinstance(PlanningCache().plan(edited), Refusal)


def test_an_object_keeps_its_newest_version() -> None:
    store = ObjectStore()
    for version in (5, 9, 7):
        store.put(observed_object(raw.scene(metadata={"resourceVersion": str(version)}), "SceneJob"))
    found = store.get(ObjectKey("SceneJob", "lab", "yard"))
    assert found is not None
    assert found.version == 9


def test_a_removed_predecessor_does_not_take_its_successor_along() -> None:
    store = ObjectStore()
    store.put(observed_object(raw.scene(metadata={"uid": "second"}), "SceneJob"))
    store.remove(ObjectKey("SceneJob", "lab", "yard"), "first")
    assert store.key_of("second") is not None


def test_settings_are_read_and_the_progress_address_reaches_the_pods(tmp_path: Path) -> None:
    file = tmp_path / "operator.yaml"
    file.write_text("workers: 3\nprogress: {url: 'http://operator:8081'}\npods: {images: {cpu: 'cpu:1'}}\n")
    settings = load_settings(str(file))
    assert settings.workers == 3
    assert settings.pod_settings().progress.url == "http://operator:8081"
    assert settings.pod_settings().images == {"cpu": "cpu:1"}


def test_pods_push_nothing_where_the_endpoint_is_off(tmp_path: Path) -> None:
    file = tmp_path / "operator.yaml"
    file.write_text("progress: {enabled: false, url: 'http://operator:8081'}\n")
    assert load_settings(str(file)).pod_settings().progress.url == ""


@pytest.mark.parametrize(
    ("text", "field"),
    [("worker: 3\n", "worker"), ("workers: many\n", "workers"), ("lease: {seconds: 1}\n", "lease.seconds")],
)
def test_a_wrong_setting_is_named(text: str, field: str, tmp_path: Path) -> None:
    file = tmp_path / "operator.yaml"
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_settings(str(file))
    assert [problem.field for problem in caught.value.problems] == [field]


def test_a_loop_without_a_sign_of_life_is_dead_however_much_waits() -> None:
    clock = Clock()
    heartbeats = Heartbeats(clock)
    beat = heartbeats.register("workers", 10.0)
    heartbeats.register("sweep", 100.0)
    clock.now += 11.0
    assert heartbeats.dead() == {"workers": 11.0}
    beat()
    assert heartbeats.dead() == {}


@pytest.mark.parametrize(
    ("scheduling", "refused"),
    [
        ({"admission": "Object"}, True),
        ({"admission": "Stage"}, False),
        ({"admission": "Object", "queueName": "lab"}, False),
        ({"admission": "Object", "labels": {"kueue.x-k8s.io/queue-name": "lab"}}, False),
    ],
)
def test_an_object_that_is_admitted_as_a_whole_needs_a_queue(scheduling: dict[str, Any], refused: bool) -> None:
    assert ("spec.scheduling.admission" in problems_of(scheduling=scheduling)) is refused
