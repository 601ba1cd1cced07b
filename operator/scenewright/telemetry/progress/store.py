"""Stores the latest counters of every shard, and sums them and the current rate by object and step."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from scenewright_stages.contract.reports import MAXIMUM_NUMBERS, Push


@dataclass(frozen=True)
class StepProgress:
    """Counters of one step, summed over all shards that have pushed. Advisory: may be empty or old.

    Attributes:
        busy_seconds, waiting_seconds: GPU time of all attempts, with and without a running sample.
        numbers: measurements of the stage, at most 16; of several shards with the same name, the newest.
        at: time of the latest push.
    """

    done: int = 0
    failed: int = 0
    skipped: int = 0
    samples_per_minute: float = 0.0
    busy_seconds: float = 0.0
    waiting_seconds: float = 0.0
    numbers: Mapping[str, float] = field(default_factory=dict)
    at: datetime | None = None


WINDOW_SECONDS = 120.0
ENOUGH_SAMPLES = 4
"""A window with fewer finished samples is extended into the past, so that two hours per sample still give a rate."""
SPACING_SECONDS = 1.0
MAXIMUM_POINTS = 256


class RateWindow:
    """Finished samples over time; `now` is always in seconds of one monotonic clock."""

    def __init__(self, now: float) -> None:
        self._points: deque[tuple[float, int]] = deque([(now, 0)], MAXIMUM_POINTS)
        self._total = 0

    def add(self, ended: int, now: float) -> None:
        """Adds finished samples."""
        if ended <= 0:
            return
        self._total += ended
        at, _ = self._points[-1]
        if len(self._points) > 1 and now - at < SPACING_SECONDS:
            self._points[-1] = (at, self._total)
        else:
            self._points.append((now, self._total))

    def per_minute(self, now: float) -> float:
        """The recent rate; it falls while no sample ends."""
        start, before = self._points[0]
        for at, total in reversed(self._points):
            if now - at >= WINDOW_SECONDS and self._total - total >= ENOUGH_SAMPLES:
                start, before = at, total
                break
        return (self._total - before) / max(now - start, SPACING_SECONDS) * 60.0


@dataclass(frozen=True)
class KnownPod:
    """A Pod of the operator; `owner_uid` is the uid of the object that owns its Job."""

    uid: str
    owner_uid: str
    step: str
    index: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A Pod's latest push."""

    created_at: datetime
    push: Push


class _Step:
    """One step of one run."""

    def __init__(self, now: float) -> None:
        self._shards: dict[int, dict[str, _Attempt]] = {}
        self._rate = RateWindow(now)
        self._numbers: dict[str, float] = {}
        self._at: datetime | None = None

    def knows(self, pod: KnownPod) -> bool:
        return pod.uid in self._shards.get(pod.index, ())

    def take(self, pod: KnownPod, push: Push, now: float, at: datetime, *, is_old: bool) -> float:
        """Stores a push; returns the load time if it is news. An old Pod's first push adds neither rate nor news."""
        shard = self._shards.setdefault(pod.index, {})
        before = shard[pod.uid].push if pod.uid in shard else None
        shard[pod.uid] = _Attempt(pod.created_at, push)
        if not is_old:
            self._rate.add(push.ended_here - (before.ended_here if before else 0), now)
        if all(other.created_at <= pod.created_at for other in shard.values()):
            older = {name: value for name, value in self._numbers.items() if name not in push.numbers}
            self._numbers = dict(islice({**push.numbers, **older}.items(), MAXIMUM_NUMBERS))
        self._at = at
        return 0.0 if is_old or (before and before.load_seconds) else push.load_seconds

    def totals(self, now: float) -> StepProgress:
        """GPU time of all attempts; samples of each shard's newest attempt, which includes those of earlier ones."""
        newest = [max(shard.values(), key=lambda each: each.created_at).push for shard in self._shards.values()]
        pushes = [attempt.push for shard in self._shards.values() for attempt in shard.values()]
        return StepProgress(
            done=sum(push.samples.done for push in newest),
            failed=sum(push.samples.failed for push in newest),
            skipped=sum(push.samples.skipped for push in newest),
            samples_per_minute=round(self._rate.per_minute(now), 2),
            busy_seconds=round(sum(push.busy_seconds for push in pushes), 1),
            waiting_seconds=round(sum(push.waiting_seconds for push in pushes), 1),
            numbers={name: float(f"{value:.6g}") for name, value in sorted(self._numbers.items())},
            at=self._at,
        )


class ProgressStore:
    """Counters of all running objects. Accepts only known Pods, so its size is bounded by their number.

    Args:
        began_at: start of this process. Another process has counted earlier pushes of older Pods.
    """

    def __init__(self, began_at: datetime | None = None) -> None:
        self._steps: defaultdict[str, dict[str, _Step]] = defaultdict(dict)
        self._began_at = began_at or datetime.now(UTC)

    def take(self, pod: KnownPod, push: Push, now: float) -> float:
        """Takes an authenticated Pod's push; returns the load time if this push is the first to report it, else 0."""
        if push.step != pod.step:
            # The index or publish part of a folded process.
            return 0.0
        step = self._steps[pod.owner_uid].setdefault(push.step, _Step(now))
        is_old = pod.created_at < self._began_at and not step.knows(pod)
        return step.take(pod, push, now, datetime.now(UTC), is_old=is_old)

    def of(self, owner_uid: str, now: float) -> Mapping[str, StepProgress]:
        """The counters of an object by step; empty if there are none."""
        return {name: step.totals(now) for name, step in self._steps.get(owner_uid, {}).items()}

    def forget_step(self, owner_uid: str, step: str) -> None:
        """Drops a step's counters when its Job is created again, in another pass or run."""
        self._steps.get(owner_uid, {}).pop(step, None)

    def forget(self, owner_uid: str) -> None:
        """Drops the counters of an object whose run has ended or that was deleted."""
        self._steps.pop(owner_uid, None)

    def __len__(self) -> int:
        return len(self._steps)
