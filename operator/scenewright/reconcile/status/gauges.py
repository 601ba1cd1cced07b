"""Gauges of the current objects, computed from memory at each scrape."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from scenewright.api.status import ACTIVE
from scenewright.reconcile.cache.observation import ObservedObject
from scenewright.reconcile.cache.projection import CachedPod
from scenewright.reconcile.cache.store import ObjectStore, Store

_RESULTS = ("total", "done", "failed", "skipped")
_SHARDS = ("running", "done", "failed")


@dataclass(frozen=True, eq=False)
class ObjectGauges(Collector):
    """Gauges of all objects. At most `cap` objects have gauges of their own: running ones first, then the newest."""

    objects: ObjectStore
    pods: Store[CachedPod]
    cap: int

    def describe(self) -> Iterable[Metric]:
        """Empty, so that registering does not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metric families."""
        stored = list(self.objects)
        phases: Counter[tuple[str, ...]] = Counter((each.key.kind, each.phase) for each in stored)
        yield _counted("scenewright_jobs", "Objects by phase.", ["kind", "phase"], phases)
        waiting: Counter[tuple[str, ...]] = Counter((each.key.kind, each.waiting) for each in stored if each.waiting)
        yield _counted("scenewright_waiting", "Objects that wait, by reason.", ["kind", "reason"], waiting)
        yield from _longest_waits(stored)
        yield from self._pending()
        yield from _stages([each for each in stored if each.phase in ACTIVE])
        ordered = sorted(stored, key=lambda each: (each.phase not in ACTIVE, -each.created_at.timestamp()))
        yield from _single(ordered[: self.cap])

    def _pending(self) -> Iterator[Metric]:
        now = datetime.now(UTC)
        ages: defaultdict[tuple[str, ...], list[float]] = defaultdict(list)
        for pod in self.pods:
            if pod.phase == "Pending":
                reason = "Unschedulable" if pod.unschedulable else pod.waiting_reason or "Starting"
                ages[(reason,)].append((now - pod.created_at).total_seconds())
        oldest = {labels: max(each) for labels, each in ages.items()}
        yield _counted(
            "scenewright_pod_pending_seconds", "Age of the oldest Pod that has not started.", ["reason"], oldest
        )


def _longest_waits(stored: Iterable[ObservedObject]) -> Iterator[Metric]:
    """How long the object waits that has waited longest, by kind and reason."""
    now, longest = datetime.now(UTC), defaultdict[tuple[str, ...], float](float)
    for each in stored:
        for condition in each.status.conditions:
            if condition.type == "Waiting" and condition.status == "True" and condition.last_transition_time:
                seconds = (now - datetime.fromisoformat(condition.last_transition_time)).total_seconds()
                longest[each.key.kind, condition.reason] = max(longest[each.key.kind, condition.reason], seconds)
    text = "How long the object has waited that waits longest."
    yield _counted("scenewright_waiting_seconds", text, ["kind", "reason"], longest)


def _stages(active: list[ObservedObject]) -> Iterator[Metric]:
    """Sums over all running objects."""
    rates: defaultdict[tuple[str, ...], float] = defaultdict(float)
    shards: Counter[tuple[str, ...]] = Counter()
    for stored in active:
        for stage in stored.status.stages:
            labels = (stored.key.kind, stored.status.pipeline, stage.name)
            if stage.state == "Running":
                rates[labels] += stage.samples_per_minute
            for state in _SHARDS:
                shards[(*labels, state)] += getattr(stage.shards, state)
    names = ["kind", "pipeline", "stage"]
    yield _counted("scenewright_stage_samples_per_minute", "Samples a minute of running stages.", names, rates)
    yield _counted("scenewright_stage_shards", "Shards of objects that run.", [*names, "state"], shards)


def _single(chosen: list[ObservedObject]) -> Iterator[Metric]:
    """Gauges per object."""
    names = ["kind", "namespace", "name"]
    samples = GaugeMetricFamily("scenewright_job_samples", "Samples of one object.", labels=[*names, "stage", "result"])
    rates = GaugeMetricFamily("scenewright_job_samples_per_minute", "Rate of one object.", labels=names)
    seconds = GaugeMetricFamily(
        "scenewright_job_gpu_seconds", "Seconds for which one object held GPUs.", labels=[*names, "stage"]
    )
    numbers = GaugeMetricFamily(
        "scenewright_job_number", "What a stage of one object measures of itself.", labels=[*names, "stage", "number"]
    )
    for stored in chosen:
        labels = (stored.key.kind, stored.key.namespace, stored.key.name)
        stages = stored.status.stages
        for stage in stages:
            for result in _RESULTS:
                samples.add_metric([*labels, stage.name, result], getattr(stage.samples, result))
            seconds.add_metric([*labels, stage.name], stage.gpu_seconds)
            for number, value in stage.numbers.items():
                numbers.add_metric([*labels, stage.name, number], value)
        rates.add_metric(labels, sum(stage.samples_per_minute for stage in stages))
    yield from (samples, rates, seconds, numbers)


def _counted(name: str, text: str, labels: list[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for label_values, value in sorted(values.items()):
        family.add_metric(list(label_values), value)
    return family
