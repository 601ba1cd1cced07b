"""The local executor: runs a plan in stage processes on this machine, without Kubernetes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from scenewright.api.raw import Json
from scenewright.execution import outcomes
from scenewright.execution.devices import available_cpus, available_gpus, gpu_slots, thread_environment
from scenewright.execution.events import Event, Interrupted, Outcome, PassStarted, StepUpToDate
from scenewright.execution.folders import RunFolder, run_folder
from scenewright.execution.interruption import Interruption
from scenewright.execution.process import WorkerServer
from scenewright.execution.published import completed
from scenewright.execution.shards import EndOfRun, ShardRunner
from scenewright.planning.plan import Plan
from scenewright.planning.protocol import end_of_pass, folds_publish, restarts_of
from scenewright.planning.tasks import RunSettings, task_of
from scenewright_stages.backends.runtime.cache.weights import default_cache_dir
from scenewright_stages.contract.reports import Report, StageCounts
from scenewright_stages.contract.task import INDEX_STEP, PICK_STEP, PUBLISH_STEP, Task, TaskPick


class LocalRun:
    """One run of one plan on this machine.

    Calls `on_event` in the calling thread. Stage processes get `environment` and the thread variables.
    """

    def __init__(
        self, plan: Plan, settings: RunSettings, on_event: Callable[[Event], None], environment: Mapping[str, str]
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._on_event = on_event
        self._environment = {**environment, **thread_environment(environment, available_cpus())}

    def run(self) -> Outcome:
        """Runs passes over the chain until no sample is missing, the passes are used up, or the run must end.

        Checks first for missing secrets, and after the index for missing weights: a later stage would only fail hours
        later.
        """
        if refused := outcomes.secret_missing(self._plan, self._environment):
            return refused
        started = time.monotonic()
        with self._prepared() as (_, runner):
            try:
                report = completed(self._passes(runner), self._plan.spec.output.uri)
                outcome = outcomes.given_up(outcomes.of_publication(self._plan, report), runner.given_up)
            except EndOfRun as ended:
                outcome = ended.outcome
        return replace(outcome, seconds=time.monotonic() - started, step_seconds=dict(runner.step_seconds))

    def plan_only(self) -> tuple[Outcome, Json]:
        """Runs only the index, without writing to the output, and returns what a run would do."""
        with self._prepared() as (folder, runner):
            try:
                runner.finish(self._task(INDEX_STEP, plan_only=True, force=self._settings.force))
            except EndOfRun as ended:
                return ended.outcome, {}
            index = folder.shard(INDEX_STEP)
            return Outcome(0, report=index.report(INDEX_STEP)), index.plan()

    def pick(self, picks: Sequence[TaskPick]) -> tuple[Outcome, list[Json]]:
        """Writes a person's choices, and returns the questions that are still open."""
        with self._prepared() as (folder, runner):
            try:
                runner.finish(self._task(PICK_STEP).model_copy(update={"picks": list(picks)}))
            except EndOfRun as ended:
                return ended.outcome, []
            return Outcome(0), folder.shard(PICK_STEP).questions()

    @contextmanager
    def _prepared(self) -> Iterator[tuple[RunFolder, ShardRunner]]:
        interruption = Interruption(lambda grace: self._on_event(Interrupted(grace)))
        restarts = partial(restarts_of, self._plan)
        with interruption.handling(), run_folder() as folder, closing(WorkerServer(self._environment)) as server:
            yield folder, ShardRunner(folder, server, self._environment, interruption, self._on_event, restarts)

    def _passes(self, runner: ShardRunner) -> Report:
        """Runs passes until no sample is missing or none is left; returns the report of the last publish."""
        allowed = self._plan.spec.execution.retries.passes
        number = 1
        while True:
            report = self._one_pass(runner, first_pass=number == 1)
            if end_of_pass(report, number, allowed) == "finished":
                return report
            number += 1
            self._on_event(PassStarted(number, sum(counts.missing for counts in report.stages.values())))

    def _one_pass(self, runner: ShardRunner, *, first_pass: bool) -> Report:
        """Runs index, each selected stage that has work, and publish; returns the report of publish.

        Only the first pass retries failed samples or forces a rerun of what is up to date.
        """
        again = {
            "retry_failed": self._settings.retry_failed and first_pass,
            "force": self._settings.force and first_pass,
        }
        runner.finish(self._task(INDEX_STEP, **again))
        index, published = _required(runner, INDEX_STEP, INDEX_STEP), None
        working = [stage for stage in self._plan.selected if index.stages[stage].todo]
        given = self._settings.model_cache
        cache = Path(given) if given else default_cache_dir(self._environment)
        if refused := outcomes.weights_missing(self._plan, working, cache):
            raise EndOfRun(refused)
        for stage in self._plan.selected:
            later = working[working.index(stage) + 1 :] if stage in working else ()
            self._run_stage(runner, stage, index.stages[stage], later)
            published = runner.report(stage, PUBLISH_STEP) if stage in working else published
        if published is None:
            runner.finish(self._task(PUBLISH_STEP))
            published = _required(runner, PUBLISH_STEP, PUBLISH_STEP)
        if published.reason:
            raise EndOfRun(outcomes.lost(PUBLISH_STEP, published.message or published.reason, ""))
        return published

    def _run_stage(self, runner: ShardRunner, stage: str, counts: StageCounts, later: Sequence[str]) -> None:
        if not counts.todo:
            self._on_event(StepUpToDate(stage, counts))
            return
        shards, gpus = max(1, counts.shards), self._plan.stage(stage).pod.gpus
        task = self._task(stage, shards, fold_publish=folds_publish(later, shards, needs_gpu=gpus > 0))
        at_most = self._plan.spec.execution.max_parallelism
        slots = gpu_slots(available_gpus(self._environment), gpus, at_most, self._settings.processes_per_gpu)
        runner.finish(task, range(shards), slots)

    def _task(self, step: str, shards: int = 1, **flags: bool) -> Task:
        return task_of(self._plan, self._settings, step, shards, **{"retry_failed": False, "force": False, **flags})


def _required(runner: ShardRunner, process: str, step: str) -> Report:
    report = runner.report(process, step)
    if report is None:
        raise EndOfRun(outcomes.lost(step, "it left no report", ""))
    return report
