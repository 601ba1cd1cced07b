"""What a scrape says of single objects: from their statuses, of a bounded number of them."""

from __future__ import annotations

import api_objects as raw

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


def test_they_are_shown_of_so_many_objects_only() -> None:
    assert len(scraped(cap=3, objects=5)) == 3 * len(NUMBERS)
