"""Prometheus metrics of the operator: what it does, what it costs the API server, and how the jobs go.

No metric has an unbounded label: objects are named only in :mod:`scenewright.telemetry.job_metrics`, up to a cap.
"""

from __future__ import annotations

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
"""Our own, so that nothing else that is imported adds to the scrape."""

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_QUEUED = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LONG = (1, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400)
_BYTES = (1024, 2048, 4096, 8192, 16384, 24576, 32768)

disable_created_metrics()  # type: ignore[no-untyped-call]

BUILD_INFO = Gauge("scenewright_build_info", "Version of the operator; always 1.", ["version"], registry=REGISTRY)
LEADER = Gauge("scenewright_leader", "1 while this process holds the lease and acts.", registry=REGISTRY)

RECONCILES = Counter(
    "scenewright_reconcile_total", "Reconciliations by result: ok, retry, error.", ["kind", "result"], registry=REGISTRY
)
RECONCILE_SECONDS = Histogram(
    "scenewright_reconcile_duration_seconds",
    "Duration of one reconciliation, API calls included.",
    ["kind"],
    buckets=_SHORT,
    registry=REGISTRY,
)
QUEUE_DEPTH = Gauge("scenewright_workqueue_depth", "Objects that are due.", registry=REGISTRY)
QUEUE_OLDEST = Gauge(
    "scenewright_workqueue_oldest_seconds", "How long the longest waiting of them has been due.", registry=REGISTRY
)
QUEUE_WAIT = Histogram(
    "scenewright_workqueue_wait_seconds",
    "Time from being due to being worked on.",
    ["priority"],
    buckets=_QUEUED,
    registry=REGISTRY,
)

API_REQUESTS = Counter(
    "scenewright_api_requests_total",
    "Requests to the API server; code 0 when there was no answer.",
    ["verb", "resource", "code"],
    registry=REGISTRY,
)
API_SECONDS = Histogram(
    "scenewright_api_request_duration_seconds",
    "Duration of requests to the API server, watches left out.",
    ["verb"],
    buckets=_SHORT,
    registry=REGISTRY,
)
CREATE_RATE = Gauge(
    "scenewright_create_rate_limit", "Creations a second that are allowed now; falls after errors.", registry=REGISTRY
)

WATCH_AGE = Gauge(
    "scenewright_watch_last_event_age_seconds",
    "Time since the last event or bookmark of a watch; one for each namespace that the operator is told to serve. "
    "Of our own kinds: time since the oldest write of this operator that their watch has not reported.",
    ["resource", "watched_namespace"],
    registry=REGISTRY,
)
WATCH_RELISTS = Counter(
    "scenewright_watch_relists_total", "Full lists of a watched resource.", ["resource", "reason"], registry=REGISTRY
)
CACHED = Gauge("scenewright_informer_objects", "Objects in memory.", ["resource"], registry=REGISTRY)
SWEEP_DIFFERENCES = Counter(
    "scenewright_sweep_differences_total",
    "What the sweep found and the watches had missed.",
    ["resource"],
    registry=REGISTRY,
)
SWEEP_TIME = Gauge(
    "scenewright_sweep_last_success_timestamp_seconds", "When the last complete sweep ended.", registry=REGISTRY
)
MALFORMED = Counter(
    "scenewright_malformed_total",
    "Objects that could not be read and were skipped.",
    ["resource"],
    registry=REGISTRY,
)
HEARTBEAT_AGE = Gauge(
    "scenewright_loop_heartbeat_age_seconds", "Time since a loop last showed life.", ["loop"], registry=REGISTRY
)

STATUS_BYTES = Histogram("scenewright_status_bytes", "Size of written statuses.", buckets=_BYTES, registry=REGISTRY)
STATUS_WRITES = Counter(
    "scenewright_status_writes_total",
    "Status writes by result: written, progress (written for mere progress), unchanged, held, conflict, gone, error.",
    ["result"],
    registry=REGISTRY,
)

FINISHED = Counter(
    "scenewright_finished_total", "Objects that ended.", ["kind", "pipeline", "result", "reason"], registry=REGISTRY
)
OBJECT_SECONDS = Histogram(
    "scenewright_object_duration_seconds",
    "Time from an object's creation to its first end.",
    ["kind", "pipeline", "result"],
    buckets=_LONG,
    registry=REGISTRY,
)
STAGE_SECONDS = Histogram(
    "scenewright_stage_duration_seconds",
    "Time from a stage's first Pod to its end.",
    ["kind", "pipeline", "stage"],
    buckets=_LONG,
    registry=REGISTRY,
)
STAGE_QUEUE_SECONDS = Histogram(
    "scenewright_stage_queue_seconds",
    "Time from the creation of a stage's Job to the start of its first Pod.",
    ["kind", "stage"],
    buckets=_LONG,
    registry=REGISTRY,
)
SAMPLES = Counter(
    "scenewright_samples_total",
    "Samples that ended in a run: done, failed, skipped.",
    ["namespace", "kind", "pipeline", "stage", "result"],
    registry=REGISTRY,
)
SAMPLE_FAILURES = Counter(
    "scenewright_sample_failures_total",
    "Failures that status names (at most 20 an object), by reason.",
    ["kind", "pipeline", "stage", "reason"],
    registry=REGISTRY,
)
RELEASED = Counter("scenewright_pods_released_total", "Pods released because their node was lost.", registry=REGISTRY)
ATTEMPTS = Counter(
    "scenewright_attempts_total",
    "Pods that ended: success, app, config, timeout, oom, infra.",
    ["step", "class"],
    registry=REGISTRY,
)
GPU_SECONDS = Counter(
    "scenewright_gpu_seconds_total",
    "GPU time in which samples ran (busy) and did not (waiting), as Pods push it or tell at their end.",
    ["namespace", "kind", "pipeline", "stage", "state"],
    registry=REGISTRY,
)


def announce_version() -> None:
    """Sets the version's gauge."""
    try:
        BUILD_INFO.labels(version("scenewright")).set(1)
    except PackageNotFoundError:
        BUILD_INFO.labels("unknown").set(1)


def register_process_metrics() -> None:
    """Adds the process's own figures (CPU, memory, file descriptors, garbage collection) to the scrape."""
    ProcessCollector(registry=REGISTRY)
    GCCollector(registry=REGISTRY)
