"""The local executor: a plan carried out by one stage process after the other, without Kubernetes."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scenewright.execution import outcomes
from scenewright.execution.events import (
    Event,
    Indexed,
    Interrupted,
    Outcome,
    PassStarted,
    Retried,
    StepUpToDate,
)
from scenewright.execution.interruption import Interruption
from scenewright.execution.policy import explanation, verdict
from scenewright.execution.process import ProcessFolder, StageProcess
from scenewright.execution.steps import StepClock
from scenewright.execution.threads import available_cpus, thread_environment
from scenewright.planning.plan import Plan
from scenewright.planning.tasks import RunSettings, task_of
from scenewright_stages.contract.exits import ExitCode
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.task import INDEX_STEP, PUBLISH_STEP, Task

_FOLDER_PREFIX = "scenewright-run-"


class EndOfRun(Exception):  # noqa: N818 - no error in itself
    """The run cannot go on; carries how it ended."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome.message)


class LocalRun:
    """One run of one plan on this machine.

    Args:
        plan: what is to be made.
        settings: run id, lock holder, model cache.
        on_event: told of everything that happens, in the calling thread.
        environment: of the stage processes; the thread variables are added.
    """

    def __init__(
        self, plan: Plan, settings: RunSettings, on_event: Callable[[Event], None], environment: Mapping[str, str]
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._on_event = on_event
        self._environment = {**environment, **thread_environment(environment, available_cpus())}
        self._interruption = Interruption(lambda grace: on_event(Interrupted(grace)))
        self._clock = StepClock(on_event)

    def run(self) -> Outcome:
        """Passes over the chain until nothing is missing, the passes are used up, or the run has to end."""
        started = time.monotonic()
        with self._interruption.handling(), run_folder() as folder:
            try:
                outcome = outcomes.of_publication(self._plan, self._passes(folder))
            except EndOfRun as ended:
                outcome = ended.outcome
        return outcomes.with_times(outcome, time.monotonic() - started, self._clock.totals)

    def plan_only(self) -> tuple[Outcome, dict[str, Any]]:
        """What a run would do: the index step, writing nothing to the output, and the plan that it made."""
        with self._interruption.handling(), run_folder() as folder:
            try:
                self._finish_shard(folder, task_of(self._plan, self._settings, INDEX_STEP, plan_only=True))
            except EndOfRun as ended:
                return ended.outcome, {}
            return Outcome(0, report=folder.report(INDEX_STEP)), folder.plan()

    def _passes(self, folder: ProcessFolder) -> Report:
        passes = self._plan.spec.execution.retries.passes
        for number in range(passes + 1):
            report = self._one_pass(folder, retry_failed=self._settings.retry_failed and number == 0)
            missing = sum(counts.missing for counts in report.stages.values())
            if missing == 0 or number == passes:
                return report
            self._on_event(PassStarted(number + 2, missing))
        raise AssertionError("a run has at least one pass")

    def _one_pass(self, folder: ProcessFolder, retry_failed: bool) -> Report:
        """Index, every selected stage that has something to do, publish; returns the report of publish."""
        first, *others = self._plan.selected
        folder.forget(INDEX_STEP, PUBLISH_STEP, *self._plan.selected)
        fold = self._folds_publish(first, shards=1)
        task = task_of(self._plan, self._settings, first, fold_index=True, fold_publish=fold, retry_failed=retry_failed)
        self._finish_shard(folder, task)
        index = self._index_report(folder)
        if index.stages[first].todo == 0:
            self._on_event(StepUpToDate(first, index.stages[first]))
        for stage in others:
            self._run_stage(folder, stage, index)
        published = folder.report(PUBLISH_STEP)
        return published or self._publish(folder)

    def _run_stage(self, folder: ProcessFolder, stage: str, index: Report) -> None:
        counts = index.stages[stage]
        if counts.todo == 0:
            self._on_event(StepUpToDate(stage, counts))
            return
        shards = max(1, counts.shards)
        for shard in range(shards):
            fold = self._folds_publish(stage, shards)
            task = task_of(self._plan, self._settings, stage, shards, fold_publish=fold, retry_failed=False)
            self._finish_shard(folder, task, shard)

    def _publish(self, folder: ProcessFolder) -> Report:
        self._finish_shard(folder, task_of(self._plan, self._settings, PUBLISH_STEP, retry_failed=False))
        report = folder.report(PUBLISH_STEP)
        if report is None:
            raise EndOfRun(outcomes.lost(PUBLISH_STEP, "it left no report", ""))
        return report

    def _index_report(self, folder: ProcessFolder) -> Report:
        report = folder.report(INDEX_STEP)
        if report is None:
            raise EndOfRun(outcomes.lost(INDEX_STEP, "it left no report", ""))
        self._on_event(Indexed(report))
        return report

    def _folds_publish(self, stage: str, shards: int) -> bool:
        """Publish runs in the last stage's process when that is one shard on a CPU."""
        return stage == self._plan.selected[-1] and shards == 1 and self._plan.stage(stage).resources.gpus == 0

    def _finish_shard(self, folder: ProcessFolder, task: Task, shard: int = 0) -> None:
        """Starts the shard's process again until it is done or given up.

        Raises:
            EndOfRun: the process says that the whole run has to end, or the user does.
        """
        attempt = 0
        while True:
            attempt += 1
            folder.forget(task.step)
            code = self._one_process(folder, task, shard, attempt)
            if self._interruption.requested:
                raise EndOfRun(outcomes.interrupted())
            outcome = verdict(code, attempt, self._plan.spec.execution.retries.per_shard)
            if outcome == "done":
                return None
            report = self._last_report(folder, task)
            if outcome == "fail":
                raise EndOfRun(outcomes.failed(ExitCode(code), report))
            self._tell_of_retry(task, shard, code, report, 0 if outcome == "lost" else self._left(attempt))
            if outcome == "lost":
                return self._give_up(folder, task, code, shard)

    def _one_process(self, folder: ProcessFolder, task: Task, shard: int, attempt: int) -> int:
        """Runs one process to its end and returns its exit code."""
        folder.progress.unlink(missing_ok=True)
        first_step = INDEX_STEP if task.fold_index else task.step
        self._clock.begin(first_step, shard, task.shards, attempt)
        with StageProcess(task, shard, folder, self._environment) as process, self._interruption.watching(process):
            for progress in process.watch():
                self._interruption.enforce()
                self._clock.advance(progress)
            self._clock.end(process.code, folder)
            return process.code

    def _left(self, attempt: int) -> int:
        return self._plan.spec.execution.retries.per_shard + 1 - attempt

    def _tell_of_retry(self, task: Task, shard: int, code: int, report: Report | None, left: int) -> None:
        reason = (report.message or report.reason) if report else ""
        self._on_event(Retried(task.step, shard, code, reason or explanation(code), left))

    def _give_up(self, folder: ProcessFolder, task: Task, code: int, shard: int) -> None:
        """A lost shard leaves samples without a record for the next pass; without an index there is no run."""
        if task.step in (INDEX_STEP, PUBLISH_STEP) or (task.fold_index and folder.report(INDEX_STEP) is None):
            raise EndOfRun(outcomes.lost(task.step, explanation(code), tail(folder.log(task.step, shard))))

    def _last_report(self, folder: ProcessFolder, task: Task) -> Report | None:
        """The report of whichever step of a folded process ended it."""
        steps = [PUBLISH_STEP] if task.fold_publish else []
        steps += [task.step, *([INDEX_STEP] if task.fold_index else [])]
        reports = [report for step in steps if (report := folder.report(step)) is not None]
        return next((report for report in reports if report.reason), reports[0] if reports else None)


@contextmanager
def run_folder() -> Iterator[ProcessFolder]:
    """A private folder for the reports of one run, removed afterwards; litter of dead runs is removed first."""
    base = Path(tempfile.gettempdir())
    for litter in base.glob(f"{_FOLDER_PREFIX}*"):
        if not _is_alive(litter.name.removeprefix(_FOLDER_PREFIX).partition("-")[0]):
            shutil.rmtree(litter, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-", ignore_cleanup_errors=True) as name:
        yield ProcessFolder(Path(name))


def tail(log: Path, lines: int = 12) -> str:
    """The last lines of a log."""
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _is_alive(process: str) -> bool:
    if not process.isdigit():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
