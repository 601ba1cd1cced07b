"""Prometheus metrics of the operator, of its load on the API server, and of the objects.

No label is unbounded: only :mod:`scenewright.reconcile.status.gauges` names objects, up to a maximum number.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import PackageNotFoundError, version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

REGISTRY = CollectorRegistry()
"""A registry of our own, so that imported libraries add nothing to the scrape."""

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_QUEUED = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LONG = (1, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400)
_BYTES = (1024, 2048, 4096, 8192, 16384, 24576, 32768)

disable_created_metrics()  # type: ignore[no-untyped-call]

counter = partial(Counter, namespace="scenewright", registry=REGISTRY)
gauge = partial(Gauge, namespace="scenewright", registry=REGISTRY)
histogram = partial(Histogram, namespace="scenewright", registry=REGISTRY)

BUILD_INFO = gauge("build_info", "Version of the operator; always 1.", ["version"])
LEADER = gauge("leader", "1 while this process holds the lease and acts.")

RECONCILES = counter("reconcile_total", "Reconciliations by result: ok, retry, error.", ["kind", "result"])
RECONCILE_SECONDS = histogram(
    "reconcile_duration_seconds", "Duration of one reconciliation, API calls included.", ["kind"], buckets=_SHORT
)
QUEUE_DEPTH = gauge("workqueue_depth", "Objects that are due.")
QUEUE_OLDEST = gauge("workqueue_oldest_seconds", "How long the longest waiting of them has been due.")
QUEUE_WAIT = histogram(
    "workqueue_wait_seconds", "Time from being due to being worked on.", ["priority"], buckets=_QUEUED
)

API_REQUESTS = counter(
    "api_requests_total", "Requests to the API server; code 0 when there was no answer.", ["verb", "resource", "code"]
)

WATCH_AGE = gauge(
    "watch_last_event_age_seconds",
    "Time since the last event or bookmark of a watch; one for each namespace that the operator is told to serve. "
    "Of our own kinds: time since the oldest write of this operator that their watch has not reported.",
    ["resource", "watched_namespace"],
)
WATCH_RELISTS = counter("watch_relists_total", "Full lists of a watched resource.", ["resource", "reason"])
SWEEP_DIFFERENCES = counter("sweep_differences_total", "What the sweep found and the watches had missed.", ["resource"])
NAMESPACE_SERVED = gauge(
    "namespace_served", "1 while the objects of a watched namespace can be listed, 0 while it refuses.", ["namespace"]
)
SWEEP_TIME = gauge("sweep_last_success_timestamp_seconds", "When the last complete sweep ended.")
MALFORMED = counter("malformed_total", "Objects that could not be read and were skipped.", ["resource"])

STATUS_BYTES = histogram("status_bytes", "Size of written statuses.", buckets=_BYTES)
STATUS_WRITES = counter(
    "status_writes_total",
    "Status writes by result: written, progress (written for mere progress), unchanged, held, conflict, gone, error.",
    ["result"],
)

FINISHED = counter("finished_total", "Objects that ended.", ["kind", "pipeline", "result", "reason"])
STAGE_SECONDS = histogram(
    "stage_duration_seconds", "Time from a stage's first Pod to its end.", ["kind", "pipeline", "stage"], buckets=_LONG
)
STAGE_QUEUE_SECONDS = histogram(
    "stage_queue_seconds",
    "Time from the creation of a stage's Job to the start of its first Pod.",
    ["kind", "stage"],
    buckets=_LONG,
)
SAMPLES = counter(
    "samples_total",
    "Samples that ended in a run: done, failed, skipped.",
    ["namespace", "kind", "pipeline", "stage", "result"],
)
SAMPLE_FAILURES = counter(
    "sample_failures_total",
    "Failures that status names (at most 20 an object), by reason.",
    ["kind", "pipeline", "stage", "reason"],
)
RELEASED = counter("pods_released_total", "Pods released because their node was lost.")
NOTIFICATIONS = counter("notifications_total", "Events for the lab's webhook by result: sent, lost.", ["result"])
ATTEMPTS = counter("attempts_total", "Pods that ended: success, app, config, timeout, oom, infra.", ["step", "class"])
GPU_SECONDS = counter(
    "gpu_seconds_total",
    "GPU time in which samples ran (busy) and did not (waiting), as Pods push it or tell at their end.",
    ["namespace", "kind", "pipeline", "stage", "state"],
)


def announce_version() -> None:
    try:
        BUILD_INFO.labels(version("scenewright")).set(1)
    except PackageNotFoundError:
        BUILD_INFO.labels("unknown").set(1)


def observe_request(verb: str, resource: str, status: int) -> None:
    API_REQUESTS.labels(verb, resource, str(status)).inc()


def register_process_metrics() -> None:
    """Adds metrics of the process (CPU, memory, file descriptors, garbage collection) to the scrape."""
    ProcessCollector(registry=REGISTRY)
    GCCollector(registry=REGISTRY)
