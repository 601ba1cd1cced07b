"""What a scrape says of single objects: from their statuses, of a bounded number of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import api_objects as raw
import pytest

from scenewright.reconcile.cache.projection import CachedPod, observed_object
from scenewright.reconcile.cache.store import ObjectStore, Store
from scenewright.reconcile.status.gauges import ObjectGauges

NUMBERS = {"loss": 0.125, "step": 400.0}


def scraped(cap: int = 10, objects: int = 1) -> dict[tuple[str, ...], float]:
    """Values of the gauge of numbers by object, stage and number."""
    store, pods = ObjectStore(), Store[CachedPod]()
    for position in range(objects):
        stages = [{"name": "index"}, {"name": "train", "state": "Running", "numbers": NUMBERS}]
        document = raw.scene(f"yard-{position}", status={"pipeline": "vistadream", "stages": stages})
        store.put(observed_object(document, "SceneJob"))
    (family,) = [each for each in ObjectGauges(store, pods, cap).collect() if each.name == "scenewright_job_number"]
    labels = ("kind", "namespace", "name", "stage", "number")
    return {tuple(sample.labels[label] for label in labels): sample.value for sample in family.samples}


def test_numbers_of_a_stage_are_gauges() -> None:
    assert scraped() == {("SceneJob", "lab", "yard-0", "train", name): value for name, value in NUMBERS.items()}


def test_the_longest_wait_of_each_reason_is_a_gauge() -> None:
    store, pods = ObjectStore(), Store[CachedPod]()
    for position, (minutes, reason) in enumerate([(5, "QueuePending"), (90, "QueuePending"), (1, "OutputBusy")]):
        since = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
        condition = {"type": "Waiting", "status": "True", "reason": reason, "lastTransitionTime": since}
        store.put(observed_object(raw.scene(f"yard-{position}", status={"conditions": [condition]}), "SceneJob"))
    families = ObjectGauges(store, pods, 10).collect()
    (family,) = [each for each in families if each.name == "scenewright_waiting_seconds"]
    found = {sample.labels["reason"]: sample.value / 60 for sample in family.samples}
    assert found == {"QueuePending": pytest.approx(90, abs=0.5), "OutputBusy": pytest.approx(1, abs=0.5)}


def test_they_are_shown_of_so_many_objects_only() -> None:
    assert len(scraped(cap=3, objects=5)) == 3 * len(NUMBERS)
