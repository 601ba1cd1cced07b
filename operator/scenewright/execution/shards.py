"""One shard after the other: its process is started again until it is done or given up."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from scenewright.execution import outcomes
from scenewright.execution.events import Event, Outcome, Retried
from scenewright.execution.folders import RunFolder
from scenewright.execution.interruption import Interruption
from scenewright.execution.policy import explanation, verdict
from scenewright.execution.process import StageProcess
from scenewright.execution.steps import StepClock
from scenewright_stages.contract.errors import ExitCode
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.task import INDEX_STEP, PUBLISH_STEP, Task


class EndOfRun(Exception):  # noqa: N818 - no error in itself
    """The run cannot go on; carries how it ended."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome.message)


class ShardRunner:
    """Runs the processes of one run.

    Args:
        folder: of the run.
        environment: of the processes.
        interruption: whether the user wants to stop.
        on_event: told of everything that happens.
        retries: how often a shard's process is started again.
    """

    def __init__(
        self,
        folder: RunFolder,
        environment: Mapping[str, str],
        interruption: Interruption,
        on_event: Callable[[Event], None],
        retries: int,
    ) -> None:
        self._folder = folder
        self._environment = environment
        self._interruption = interruption
        self._on_event = on_event
        self._retries = retries
        self._clock = StepClock(folder, on_event)

    @property
    def step_seconds(self) -> dict[str, float]:
        """Wall-clock seconds by step so far."""
        return self._clock.totals

    def finish(self, task: Task, shard: int = 0) -> None:
        """Starts the shard's process until it is done or given up.

        Raises:
            EndOfRun: the process says that the whole run has to end, or the user does.
        """
        attempt = 0
        decision = "retry"
        while decision == "retry":
            attempt += 1
            code = self._run_process(task, shard, attempt)
            if self._interruption.requested:
                raise EndOfRun(outcomes.interrupted())
            decision = verdict(code, attempt, self._retries)
            if decision == "fail":
                raise EndOfRun(outcomes.failed(ExitCode(code), self._last_report(task)))
            if decision != "done":
                self._tell_of_retry(task, shard, code, 0 if decision == "lost" else self._retries + 1 - attempt)
        if decision == "lost":
            self._give_up(task, shard, code)

    def _run_process(self, task: Task, shard: int, attempt: int) -> int:
        """Runs one process to its end and returns its exit code."""
        self._folder.forget(task.step)
        self._clock.begin(_steps(task), shard, task.shards, attempt)
        with (
            StageProcess(task, shard, self._folder, self._environment) as process,
            self._interruption.watching(process),
        ):
            while process.is_running():
                self._interruption.enforce()
                self._clock.advance(self._folder.progress())
            self._clock.advance(self._folder.progress())
            self._clock.end(process.code)
            return process.code

    def _tell_of_retry(self, task: Task, shard: int, code: int, attempts_left: int) -> None:
        report = self._last_report(task)
        reason = (report.message or report.reason) if report else ""
        self._on_event(Retried(task.step, shard, code, reason or explanation(code), attempts_left))

    def _give_up(self, task: Task, shard: int, code: int) -> None:
        """A lost shard leaves samples without a record for the next pass; without an index there is no run."""
        lacks_index = task.fold_index and self._folder.report(INDEX_STEP) is None
        if task.step in (INDEX_STEP, PUBLISH_STEP) or lacks_index:
            step = INDEX_STEP if lacks_index else task.step
            raise EndOfRun(outcomes.lost(step, explanation(code), self._folder.log_tail(task.step, shard)))

    def _last_report(self, task: Task) -> Report | None:
        """The report of whichever step of a folded process ended it."""
        reports = [report for step in reversed(_steps(task)) if (report := self._folder.report(step)) is not None]
        return next((report for report in reports if report.reason), reports[0] if reports else None)


def _steps(task: Task) -> tuple[str, ...]:
    """The steps that a process goes through."""
    before = (INDEX_STEP,) if task.fold_index else ()
    after = (PUBLISH_STEP,) if task.fold_publish else ()
    return (*before, task.step, *after)
