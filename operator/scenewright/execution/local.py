"""The local executor: a plan carried out by one stage process after the other, without Kubernetes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from scenewright.execution import outcomes
from scenewright.execution.events import Event, Interrupted, Outcome, PassStarted, StepUpToDate
from scenewright.execution.folders import RunFolder, run_folder
from scenewright.execution.interruption import Interruption
from scenewright.execution.published import completed
from scenewright.execution.shards import EndOfRun, ShardRunner
from scenewright.execution.threads import available_cpus, thread_environment
from scenewright.planning.plan import Plan
from scenewright.planning.tasks import RunSettings, task_of
from scenewright_stages.contract.reports import Report, StageCounts
from scenewright_stages.contract.task import INDEX_STEP, PUBLISH_STEP, Task


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

    def run(self) -> Outcome:
        """Passes over the chain until nothing is missing, the passes are used up, or the run has to end."""
        started = time.monotonic()
        with self._prepared() as (folder, runner):
            try:
                outcome = self._published(self._passes(folder, runner))
            except EndOfRun as ended:
                outcome = ended.outcome
        return outcomes.with_times(outcome, time.monotonic() - started, runner.step_seconds)

    def plan_only(self) -> tuple[Outcome, dict[str, Any]]:
        """What a run would do: the index step, writing nothing to the output, and the plan that it made."""
        with self._prepared() as (folder, runner):
            try:
                runner.finish(self._task(INDEX_STEP, plan_only=True))
            except EndOfRun as ended:
                return ended.outcome, {}
            return Outcome(0, report=folder.report(INDEX_STEP)), folder.plan()

    @contextmanager
    def _prepared(self) -> Iterator[tuple[RunFolder, ShardRunner]]:
        interruption = Interruption(lambda grace: self._on_event(Interrupted(grace)))
        retries = self._plan.spec.execution.retries.per_shard
        with interruption.handling(), run_folder() as folder:
            yield folder, ShardRunner(folder, self._environment, interruption, self._on_event, retries)

    def _passes(self, folder: RunFolder, runner: ShardRunner) -> Report:
        """Goes over the chain until nothing is missing; returns the report of the last publish."""
        passes = self._plan.spec.execution.retries.passes
        for number in range(passes + 1):
            retry_failed = self._settings.retry_failed and number == 0
            report = self._one_pass(folder, runner, retry_failed)
            missing = sum(counts.missing for counts in report.stages.values())
            if missing == 0 or number == passes:
                return report
            self._on_event(PassStarted(number + 2, missing))
        raise AssertionError("a run has at least one pass")

    def _one_pass(self, folder: RunFolder, runner: ShardRunner, retry_failed: bool) -> Report:
        """Index, every selected stage that has something to do, publish; returns the report of publish."""
        first, *others = self._plan.selected
        folder.forget(INDEX_STEP, PUBLISH_STEP, *self._plan.selected)
        fold = self._folds_publish(first, shards=1)
        runner.finish(self._task(first, fold_index=True, fold_publish=fold, retry_failed=retry_failed))
        index = _required(folder, INDEX_STEP)
        for stage in others:
            self._run_stage(runner, stage, index.stages[stage])
        if folder.report(PUBLISH_STEP) is None:
            runner.finish(self._task(PUBLISH_STEP))
        return _required(folder, PUBLISH_STEP)

    def _run_stage(self, runner: ShardRunner, stage: str, counts: StageCounts) -> None:
        if counts.todo == 0:
            self._on_event(StepUpToDate(stage, counts))
            return
        shards = max(1, counts.shards)
        for shard in range(shards):
            runner.finish(self._task(stage, shards, fold_publish=self._folds_publish(stage, shards)), shard)

    def _published(self, report: Report) -> Outcome:
        return outcomes.of_publication(self._plan, completed(report, self._plan.spec.output.uri))

    def _folds_publish(self, stage: str, shards: int) -> bool:
        """Publish runs in the last stage's process when that is one shard on a CPU."""
        return stage == self._plan.selected[-1] and shards == 1 and self._plan.stage(stage).resources.gpus == 0

    def _task(self, step: str, shards: int = 1, retry_failed: bool = False, **flags: bool) -> Task:
        return task_of(self._plan, self._settings, step, shards, retry_failed=retry_failed, **flags)


def _required(folder: RunFolder, step: str) -> Report:
    report = folder.report(step)
    if report is None:
        raise EndOfRun(outcomes.lost(step, "it left no report", ""))
    return report
