"""The worker process: reads its task, runs its steps, and exits with the matching exit code."""

from __future__ import annotations

import faulthandler
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from scenewright_stages.contract import layout
from scenewright_stages.contract.errors import ConfigurationError, ExitCode, ScenewrightError
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.task import (
    ENVIRONMENT,
    INDEX_STEP,
    MODELS_STEP,
    PICK_STEP,
    PUBLISH_STEP,
    Task,
    task_in,
)
from scenewright_stages.store import StoreError
from scenewright_stages.store.retrying import stop_retrying
from scenewright_stages.worker.chain import resolve_chain
from scenewright_stages.worker.index.picking import run_pick
from scenewright_stages.worker.index.step import run_index
from scenewright_stages.worker.process.endings import (
    UNEXPECTED,
    ProcessLost,
    Terminated,
    ending_for,
    explained,
)
from scenewright_stages.worker.process.locking import OutputLock
from scenewright_stages.worker.process.logs import LogCapture
from scenewright_stages.worker.process.process_setup import make_scratch, prepare_environment, reuse_memory
from scenewright_stages.worker.process.progress import Progress
from scenewright_stages.worker.process.pushing import Pusher
from scenewright_stages.worker.process.reporting import deliver, merge_reports, refusal_report
from scenewright_stages.worker.process.session import Session, open_output, store_fault
from scenewright_stages.worker.process.settings import ProcessSettings
from scenewright_stages.worker.process.sidecars import end_sidecars
from scenewright_stages.worker.process.stopping import Stop, watch_last_moment, watch_parent, watch_signals
from scenewright_stages.worker.process.watchdog import HangGuard, PeriodicTask
from scenewright_stages.worker.publish.step import run_publish
from scenewright_stages.worker.stage.step import StageRun


def main() -> None:
    """Runs the task from the environment; never returns."""
    reuse_memory()
    settings = _settings()
    scratch = make_scratch(settings.scratch)
    stop = Stop(settings.grace_seconds)
    logs = LogCapture(scratch / "log")
    prepare_environment(os.environ, scratch)
    faulthandler.enable(file=logs.shown)
    HangGuard(settings.hang_seconds, logs.shown)
    leave_at_once = partial(os._exit, ExitCode.TERMINATED)
    watch_signals(stop, leave_at_once)
    watch_last_moment(stop, leave_at_once)
    if settings.parent_descriptor is not None:
        watch_parent(stop, settings.parent_descriptor)
    process = Process(settings, scratch, stop, logs)
    code = process.run()
    process.leave(ExitCode.TERMINATED if stop.requested else code)


class Process:
    """The steps of one process, and how it ends.

    Args:
        settings: from the environment.
        scratch: folder of this process, removed at its end.
        stop: requests to end.
        logs: captured output.
    """

    def __init__(self, settings: ProcessSettings, scratch: Path, stop: Stop, logs: LogCapture) -> None:
        self._settings, self._scratch, self._stop, self._logs = settings, scratch, stop, logs
        self._session: Session | None = None
        self._stage_run: StageRun | None = None
        self._pusher: Pusher | None = None
        self._locked, self._log_is_stored = False, False
        self._reports: list[Report] = []
        self._step, self._run = "", ""

    def run(self) -> int:
        """Runs all steps of the task; returns the exit code."""
        periodic = PeriodicTask("periodic", (self._periodic,), self._stop.fail)
        watcher = PeriodicTask("watch", (self._watch,), traceback.print_exception)
        try:
            self._session = self._open()
            self._run_steps(self._session)
            return ExitCode.COMPLETE
        except BaseException as problem:
            return self._end_with(problem)
        finally:
            watcher.close()
            periodic.close()

    def leave(self, code: int) -> None:
        """Stores the log, cleans up and exits at once, without waiting for threads."""
        try:
            sys.stdout.flush()
            sys.stderr.flush()
            self._logs.flush()
        except StoreError as problem:
            print(f"the log could not be stored: {problem}", file=sys.stderr, flush=True)
        if self._session is not None:
            self._session.progress.write()
        if self._pusher is not None:
            self._pusher.close()
        self._logs.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
        end_sidecars(os.environ)
        os._exit(code)

    def _open(self) -> Session:
        task = _task()
        self._step, self._run = task.step, task.run
        chain = resolve_chain(task)
        output = open_output(task.output.uri, writable=not task.plan_only)
        lock = OutputLock(output, task.holder, self._settings.holder_process)
        progress = Progress(self._settings.progress_file, task.run, self._settings.shard, self._settings.gpus)
        if self._settings.push_target is not None:
            self._pusher = Pusher(self._settings.push_target, progress.push)
        session = Session(task, chain, self._settings, output, lock, self._stop, progress)
        if self._settings.in_pod and not task.plan_only:
            # A Pod's log would be lost with the Pod; a refused local job leaves no trace.
            self._store_log(session)
        return session

    def _run_steps(self, session: Session) -> None:
        task = session.task
        if task.step == MODELS_STEP:
            self._run_step(MODELS_STEP, lambda: self._fill_models(session))
            return
        if task.step == PICK_STEP:
            self._run_step(PICK_STEP, lambda: run_pick(session))
            return
        if task.step == INDEX_STEP or task.fold_index:
            self._run_step(INDEX_STEP, lambda: run_index(session))
        if task.plan_only:
            return
        self._take_lock(session)
        if task.step not in (INDEX_STEP, PUBLISH_STEP):
            self._run_step(task.step, lambda: self._run_stage(session))
        if task.step == PUBLISH_STEP or task.fold_publish:
            self._run_step(PUBLISH_STEP, lambda: run_publish(session, self._scratch / "publish"))

    def _run_step(self, step: str, run: Callable[[], Report]) -> None:
        self._step = step
        if self._stop.requested:
            raise Terminated(f"ended by {self._stop.reason}; run again to continue")
        try:
            report = run()
        except StoreError as problem:
            raise store_fault(problem) from problem
        self._deliver(report)

    def _fill_models(self, session: Session) -> Report:
        # Imported here, because only this step needs the download code.
        from scenewright_stages.worker.stage.models_step import run_models

        return run_models(session)

    def _run_stage(self, session: Session) -> Report:
        self._stage_run = StageRun(session, self._scratch / "stage")
        return self._stage_run.run()

    def _take_lock(self, session: Session) -> None:
        session.lock.acquire()
        self._locked = True
        self._store_log(session)

    def _store_log(self, session: Session) -> None:
        name = layout.log_file(session.task.run, session.task.step, self._settings.shard, self._settings.attempt)
        self._logs.store_to(session.output, name)
        self._log_is_stored = True

    def _periodic(self) -> None:
        self._logs.echo()
        if self._session is None:
            return
        self._session.progress.write_if_due()
        if self._log_is_stored:
            self._logs.flush_if_due()
        if self._locked:
            self._session.lock.renew_if_due()
            if self._stage_run is not None:
                self._stage_run.flush_if_due()

    def _watch(self) -> None:
        """Ends the process if the running sample or the grace period takes too long, or another rank died.

        Index and publish can be killed at any point, so they get no grace period.
        """
        if self._stop.lost and self._stage_run is not None:
            self._stage_run.keep_marks()
            self.leave(self._end_with(ProcessLost(self._stop.lost)))
        problem: ScenewrightError | None = None
        if self._stop.requested:
            stop_retrying()
        in_stage = self._stage_run is not None and self._step != PUBLISH_STEP
        if self._stop.requested and (not in_stage or self._stop.seconds_left() <= 0):
            problem = Terminated(f"ended by {self._stop.reason}; run again to continue")
        elif self._stage_run is not None:
            problem = self._stage_run.give_up_late_sample()
        if problem is not None:
            if self._stage_run is not None:
                self._stage_run.give_up()
            self.leave(self._end_with(problem))

    def _end_with(self, problem: BaseException) -> int:
        if not isinstance(problem, ScenewrightError):
            traceback.print_exception(problem)
        problem = explained(problem, self._step or "task")
        ending = ending_for(problem)
        if ending.code not in (UNEXPECTED, ExitCode.TERMINATED):
            print(f"{ending.reason}: {ending.message}", file=sys.stderr, flush=True)
        self._deliver(self._failure_report(problem, ending.reason, ending.message))
        return ending.code

    def _failure_report(self, problem: BaseException, reason: str, message: str) -> Report:
        if isinstance(problem, ConfigurationError):
            return refusal_report(self._step or "task", self._run, reason, problem)
        if self._stage_run is not None and self._session is not None and self._step == self._session.task.step:
            return self._stage_run.report().model_copy(update={"reason": reason, "message": message})
        return Report(step=self._step or "task", run=self._run, reason=reason, message=message)

    def _deliver(self, report: Report) -> None:
        self._reports.append(report)
        store = self._session.output if self._session is not None and self._may_store() else None
        deliver(report, merge_reports(self._reports), self._settings, store)

    def _may_store(self) -> bool:
        session = self._session
        return session is not None and session.lock.was_held


def _settings() -> ProcessSettings:
    try:
        return ProcessSettings.from_environment()
    except ConfigurationError as problem:
        print(problem, file=sys.stderr, flush=True)
        sys.exit(ExitCode.CONFIGURATION)


def _task() -> Task:
    try:
        text = task_in(os.environ)
    except ValueError as problem:
        raise ConfigurationError(ENVIRONMENT, "a compressed task", str(problem)) from None
    if text is None:
        raise ConfigurationError(ENVIRONMENT, None, "must hold the task of this process as JSON")
    try:
        return Task.model_validate_json(text)
    except ValidationError as problem:
        first = problem.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{ENVIRONMENT}.{path}", first.get("input"), first["msg"]) from None
