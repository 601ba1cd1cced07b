"""Runs the shards of a step in parallel processes, and restarts each until it is done or given up."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from scenewright.execution import outcomes
from scenewright.execution.events import Event, Outcome, Retried
from scenewright.execution.folders import RunFolder
from scenewright.execution.interruption import Interruption
from scenewright.execution.outcomes import explanation, verdict
from scenewright.execution.process import StageProcess, WorkerServer
from scenewright.execution.steps import StepClock
from scenewright_stages.contract.errors import ExitCode
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.task import INDEX_STEP, PUBLISH_STEP, Task

Slot = Mapping[str, str]
"""Environment variables that assign GPUs to a process."""
ANYWHERE: Sequence[Slot] = ({},)


class EndOfRun(Exception):  # noqa: N818 - no error in itself
    """Ends the run with an outcome."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome.message)


@dataclass
class _Attempt:
    """A running process of a shard."""

    shard: int
    number: int
    slot: Slot
    process: StageProcess
    clock: StepClock
    resources: ExitStack


@dataclass(frozen=True, eq=False)
class ShardRunner:
    """Runs the processes of one run, from one thread.

    Attributes:
        restarts: returns how often a step's process may restart.
        given_up: why a step was given up, by step, unless a later pass finished it.
        step_seconds: wall-clock seconds by step so far, without steps that were up to date.
    """

    folder: RunFolder
    server: WorkerServer
    environment: Mapping[str, str]
    interruption: Interruption
    on_event: Callable[[Event], None]
    restarts: Callable[[str], int]
    given_up: dict[str, str] = field(default_factory=dict)
    step_seconds: dict[str, float] = field(default_factory=dict)
    _indexed: dict[str, int] = field(default_factory=dict)

    def finish(self, task: Task, shards: Sequence[int] = (0,), slots: Sequence[Slot] = ANYWHERE) -> None:
        """Runs the shards until each is done or given up, one per slot at a time.

        Raises:
            EndOfRun: a process failed the whole run, or the user interrupted it.
        """
        self.given_up.pop(task.step, None)
        waiting = deque((shard, 1) for shard in shards)
        free, running = list(slots), list[_Attempt]()
        began = time.monotonic()
        try:
            while waiting or running:
                while waiting and free:
                    running.append(self._start(task, *waiting.popleft(), free.pop(0)))
                running[0].process.wait_a_moment()
                self.interruption.enforce()
                for attempt in list(running):
                    attempt.clock.advance(self.folder.shard(task.step, attempt.shard).progress())
                    if not attempt.process.is_running():
                        running.remove(attempt)
                        free.append(attempt.slot)
                        waiting.extend(self._ended(task, attempt))
        finally:
            for attempt in running:
                attempt.resources.close()
        if len(slots) > 1:
            # The sum over parallel shards would be more than the step took.
            self.step_seconds[task.step] = time.monotonic() - began

    def report(self, task_step: str, step: str, shard: int = 0) -> Report | None:
        """The report of a step from the process whose task is for `task_step`."""
        return self.folder.shard(task_step, shard).report(step)

    def _start(self, task: Task, shard: int, number: int, slot: Slot) -> _Attempt:
        folder = self.folder.shard(task.step, shard)
        folder.clear()
        position = (shard, task.shards)
        clock = StepClock(folder, _steps(task), position, number, self.on_event, self.step_seconds, self._indexed)
        resources = ExitStack()
        process = resources.enter_context(StageProcess(self.server, task, shard, folder, {**self.environment, **slot}))
        resources.enter_context(self.interruption.watching(process))
        return _Attempt(shard, number, slot, process, clock, resources)

    def _ended(self, task: Task, attempt: _Attempt) -> list[tuple[int, int]]:
        """Handles the end of a process; returns the shard's next attempt, if any, as (shard, attempt)."""
        code = attempt.process.code
        attempt.resources.close()
        attempt.clock.end(code)
        if self.interruption.requested:
            raise EndOfRun(outcomes.INTERRUPTED)
        restarts = self.restarts(task.step)
        decision = verdict(code, attempt.number, restarts)
        if decision == "fail":
            raise EndOfRun(outcomes.failed(ExitCode(code), self._last_report(task, attempt.shard)))
        if decision == "done":
            return []
        left = 0 if decision == "lost" else restarts + 1 - attempt.number
        report = self._last_report(task, attempt.shard)
        reason = (report.message or report.reason) if report else ""
        step = self._ended_in(task, attempt.shard)
        self.on_event(Retried(step, attempt.shard, code, reason or explanation(code), left))
        if decision == "retry":
            return [(attempt.shard, attempt.number + 1)]
        if step in (INDEX_STEP, PUBLISH_STEP):
            log = self.folder.shard(task.step, attempt.shard).log_tail()
            raise EndOfRun(outcomes.lost(step, reason or explanation(code), log))
        # The stage's other shards go on, and the next pass has the samples of this one.
        self.given_up[step] = reason or explanation(code)
        return []

    def _ended_in(self, task: Task, shard: int) -> str:
        """The step in which a process ended: the folded publish, if the stage's own report is complete."""
        report = self.folder.shard(task.step, shard).report(task.step)
        return PUBLISH_STEP if task.fold_publish and report is not None and not report.reason else task.step

    def _last_report(self, task: Task, shard: int) -> Report | None:
        """The report of the step that ended the process, which may be a folded one."""
        folder = self.folder.shard(task.step, shard)
        reports = [report for step in reversed(_steps(task)) if (report := folder.report(step)) is not None]
        return next((report for report in reports if report.reason), reports[0] if reports else None)


def _steps(task: Task) -> tuple[str, ...]:
    """The steps that a process runs."""
    return (task.step, PUBLISH_STEP) if task.fold_publish else (task.step,)
