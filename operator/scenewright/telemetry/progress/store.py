"""The newest counters of every shard, added up by object and step as they come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Protocol

from scenewright.telemetry.counters import StepProgress
from scenewright.telemetry.progress.rates import RateWindow
from scenewright_stages.contract.reports import MAXIMUM_NUMBERS, Push

MAXIMUM_ATTEMPTS = 8
"""Attempts of one shard that are told apart; GPU time of older ones is kept in one sum."""
PAST_RUNS = 8


class KnownPod(Protocol):
    """What the operator knows of a Pod of its own."""

    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> str: ...
    @property
    def step(self) -> str: ...
    @property
    def owner_uid(self) -> str: ...
    @property
    def index(self) -> int: ...
    @property
    def created_at(self) -> datetime: ...


@dataclass(frozen=True, slots=True)
class _Attempt:
    """What a Pod said last: as little as possible, for there may be thousands of them."""

    created_at: datetime
    done: int
    failed: int
    skipped: int
    ended_here: int
    busy_seconds: float
    waiting_seconds: float
    load_seconds: float

    @classmethod
    def of(cls, pod: KnownPod, push: Push) -> _Attempt:
        samples = push.samples
        return cls(
            pod.created_at,
            samples.done,
            samples.failed,
            samples.skipped,
            push.ended_here,
            push.busy_seconds,
            push.waiting_seconds,
            push.load_seconds,
        )


_Shard = dict[str, _Attempt]
"""Attempts by Pod uid, in the order in which they were first heard of."""


class _Step:
    """One step of one run."""

    def __init__(self, now: float) -> None:
        self._shards: dict[int, _Shard] = {}
        self._rate = RateWindow(now)
        self._done, self._failed, self._skipped = 0, 0, 0
        self._busy, self._waiting = 0.0, 0.0
        self._numbers: dict[str, float] = {}
        self._at: datetime | None = None

    def knows(self, pod: KnownPod) -> bool:
        return pod.uid in self._shards.get(pod.index, ())

    def take(self, pod: KnownPod, push: Push, now: float, at: datetime, *, is_old: bool) -> float:
        """How long loading took, if this is news; nothing that an old Pod, new to us, did is recent or news."""
        shard = self._shards.setdefault(pod.index, {})
        before, attempt = shard.get(pod.uid), _Attempt.of(pod, push)
        self._count(shard, -1)
        shard[pod.uid] = attempt
        if len(shard) > MAXIMUM_ATTEMPTS:
            del shard[next(iter(shard))]
        self._count(shard, +1)
        if not is_old:
            self._rate.add(attempt.ended_here - (before.ended_here if before else 0), now)
        self._busy += max(0.0, attempt.busy_seconds - (before.busy_seconds if before else 0.0))
        self._waiting += max(0.0, attempt.waiting_seconds - (before.waiting_seconds if before else 0.0))
        if all(other.created_at <= attempt.created_at for other in shard.values()):
            older = {name: value for name, value in self._numbers.items() if name not in push.numbers}
            self._numbers = dict(islice({**push.numbers, **older}.items(), MAXIMUM_NUMBERS))
        self._at = at
        return 0.0 if is_old or (before and before.load_seconds) else attempt.load_seconds

    def totals(self, now: float) -> StepProgress:
        return StepProgress(
            done=self._done,
            failed=self._failed,
            skipped=self._skipped,
            samples_per_minute=round(self._rate.per_minute(now), 2),
            busy_seconds=round(self._busy, 1),
            waiting_seconds=round(self._waiting, 1),
            numbers={name: float(f"{value:.6g}") for name, value in sorted(self._numbers.items())},
            at=self._at,
        )

    def _count(self, shard: _Shard, sign: int) -> None:
        if shard:
            newest = max(shard.values(), key=lambda attempt: attempt.created_at)
            self._done += sign * newest.done
            self._failed += sign * newest.failed
            self._skipped += sign * newest.skipped


class _Run:
    """The steps of an object's current run."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.past: list[str] = []
        self.steps: dict[str, _Step] = {}

    def enter(self, run: str) -> bool:
        """Whether pushes of this run count; a new one ends the one before for good."""
        if run in self.past:
            return False
        if run != self.run:
            self.past = [*self.past, self.run][-PAST_RUNS:]
            self.run, self.steps = run, {}
        return True


class ProgressStore:
    """Counters of all running objects. Only Pods that the operator knows get in, so its size is bounded by theirs.

    Args:
        began_at: start of this process. What older Pods said before, another process has counted.
    """

    def __init__(self, began_at: datetime | None = None) -> None:
        self._runs: dict[str, _Run] = {}
        self._began_at = began_at or datetime.now(UTC)

    def take(self, pod: KnownPod, push: Push, now: float) -> float:
        """Takes a push of a Pod that is known and is who it says.

        Args:
            now: seconds of a clock that never goes back.

        Returns:
            How long loading took, where this push is the first to say so, else 0.
        """
        run = self._runs.setdefault(pod.owner_uid, _Run(push.run))
        if push.step != pod.step or not run.enter(push.run):
            # The index or publish part of a folded process, or a Pod that outlived its run.
            return 0.0
        step = run.steps.setdefault(push.step, _Step(now))
        is_old = pod.created_at < self._began_at and not step.knows(pod)
        return step.take(pod, push, now, datetime.now(UTC), is_old=is_old)

    def of(self, owner_uid: str, now: float) -> Mapping[str, StepProgress]:
        """The counters of an object by step; empty when there are none."""
        run = self._runs.get(owner_uid)
        return {name: step.totals(now) for name, step in run.steps.items()} if run else {}

    def forget_step(self, owner_uid: str, step: str) -> None:
        """A Job of this step is about to be created: what Pods of an earlier pass said is over."""
        run = self._runs.get(owner_uid)
        if run is not None:
            run.steps.pop(step, None)

    def forget(self, owner_uid: str) -> None:
        """The run has ended, or the object is gone."""
        self._runs.pop(owner_uid, None)

    def __len__(self) -> int:
        return len(self._runs)
