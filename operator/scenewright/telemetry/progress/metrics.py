"""Metrics of the progress endpoint."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from scenewright.telemetry.metrics import REGISTRY

PUSHES = Counter(
    "scenewright_progress_pushes_total",
    "Pushes of progress by result: accepted, or why they were refused.",
    ["result"],
    registry=REGISTRY,
)
LOAD_SECONDS = Histogram(
    "scenewright_model_load_seconds",
    "Time from a stage process's start of loading until it is ready for its first sample.",
    ["stage"],
    buckets=(0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
    registry=REGISTRY,
)
