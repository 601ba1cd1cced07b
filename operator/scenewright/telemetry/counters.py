"""Counters of a step as its Pods push them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True)
class StepProgress:
    """Counters of one step over all shards that have pushed: advisory, may be empty or old.

    Attributes:
        done, failed, skipped: samples of this run's worklist that have ended, over all shards.
        samples_per_minute: recent rate over all shards.
        busy_seconds, waiting_seconds: GPU time of all attempts in which samples ran, and in which they did not.
        numbers: what the stage's code measures of itself, at most 16; of several shards that name the same, the newest.
        at: when the newest push came in.
    """

    done: int = 0
    failed: int = 0
    skipped: int = 0
    samples_per_minute: float = 0.0
    busy_seconds: float = 0.0
    waiting_seconds: float = 0.0
    numbers: Mapping[str, float] = field(default_factory=dict)
    at: datetime | None = None
