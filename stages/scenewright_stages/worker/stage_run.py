"""The stage step: every sample of the shard's worklist gets a record."""

from __future__ import annotations

import importlib
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scenewright_stages.contract import layout
from scenewright_stages.contract.errors import ConfigurationError, SampleError, ScenewrightError, ShardError
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.stage import BackendUse, ModelSettings, Stage, StageContext
from scenewright_stages.store import ObjectMissing, StoreError
from scenewright_stages.worker.attempting import Attempter, Made, RunningSamples, Unmade
from scenewright_stages.worker.endings import (
    SampleFailed,
    SampleTimeout,
    Terminated,
    TooManyFailures,
    exceeds,
    store_fault,
)
from scenewright_stages.worker.fetching import AHEAD_SAMPLES, Assignment, Fetched, Fetcher
from scenewright_stages.worker.histories import read_histories
from scenewright_stages.worker.parallel import for_each, thread_count
from scenewright_stages.worker.recording import Recorder
from scenewright_stages.worker.resuming import Agenda, make_agenda
from scenewright_stages.worker.session import Session
from scenewright_stages.worker.standing import input_fingerprint
from scenewright_stages.worker.stopping import Abandoned
from scenewright_stages.worker.tallying import Tally
from scenewright_stages.worker.uploading import Uploader
from scenewright_stages.worker.worklists import Todo, shard_lines

MARKED_TOGETHER = 16
"""Samples whose start is noted by one write where they run beside each other."""


class StageRun:
    """One stage on one shard, in this process.

    Args:
        session: the process.
        scratch: an empty folder for inputs and workspaces.

    Raises:
        ConfigurationError: the chain has no such stage.
        ShardError: there is no worklist.
    """

    def __init__(self, session: Session, scratch: Path) -> None:
        task, settings = session.task, session.settings
        self._session, self._scratch = session, scratch
        self._spec = session.chain.stage(task.step)
        self._key = session.chain.keys[self._spec.name]
        self._todos = _read_worklist(session, self._spec)
        self._tally = Tally(self._spec.name, len(self._todos))
        self._recorder = Recorder(
            session.output, self._spec.name, self._key, task.run, settings.shard, settings.attempt
        )
        self._uploader = Uploader(session.output, self._spec, self._end, session.stop.fail)
        self._running = RunningSamples()
        self._current: dict[str, Record] = {}
        self._threads = thread_count(self._spec.threads)
        self._afters: dict[str, float] = {todo.sample.id: todo.after for todo in self._todos}
        self._given_up = threading.Event()

    def run(self) -> Report:
        """Works until every sample has a record.

        Raises:
            ConfigurationError, ShardError, SampleFailed, TooManyFailures, Terminated: why it ended before.
        """
        self._session.progress.begin_step(self._spec.name, "loading", self._tally.total)
        try:
            agenda = self._agenda()
            self._settle(agenda)
            if agenda.assignments:
                self._work(agenda.assignments)
                self._session.progress.enter("uploading")
                self._recorder.store_marks()
                self._uploader.drain()
            self._check_may_go_on()
            self._store_rest()
        except StoreError as problem:
            self.abandon()
            raise store_fault(problem) from problem
        except Abandoned:
            self.abandon()
            self._check_may_go_on()
            raise
        except BaseException:
            self.abandon()
            raise
        if not self._complete():
            raise ShardError("samples of this shard ended without a record")
        self._session.progress.enter("finished")
        return self.report()

    def report(self) -> Report:
        """How the shard stands now."""
        return self._tally.report(self._session.task.run, self._session.progress.gpu.rest())

    def keep_house(self) -> None:
        """Regular duty: flushes records that are due."""
        self._recorder.flush_if_due()

    def give_up_late_sample(self) -> ScenewrightError | None:
        """Records the running sample as failed when its time is over; what the process then has to end with."""
        allowed = self._session.task.sample_timeout_seconds
        name = self._running.take(older_than=allowed)
        if name is None:
            return None
        self._given_up.set()
        message = f"it ran longer than sampleTimeoutSeconds = {allowed:g}"
        self._end(replace(self._current[name], state="failed", reason="Timeout", message=message, seconds=allowed))
        try:
            self._check_failures()
        except (SampleFailed, TooManyFailures) as problem:
            return problem
        return SampleTimeout(f"{name}: {message}")

    def give_up(self) -> None:
        """Ends the work from a thread that watches: the main thread gets no further."""
        self._given_up.set()
        self.abandon()

    def abandon(self) -> None:
        """Stores what can be stored before the process ends early."""
        try:
            self._store_rest()
        except StoreError as problem:
            print(f"records could not be stored: {problem}", file=sys.stderr, flush=True)

    def _agenda(self) -> Agenda:
        session = self._session
        stages = session.chain.closure(self._spec.name)
        wanted = {name for todo in self._todos for name in (*todo.sample.ancestors, todo.sample.id)}
        histories = read_histories(session.output, [stage.name for stage in stages], wanted.__contains__)
        allowed = session.task.retries.per_sample + 1
        return make_agenda(stages, session.chain.keys, self._todos, histories, session.task.run, allowed)

    def _settle(self, agenda: Agenda) -> None:
        for record in agenda.ended:
            self._tally.add(record)
        for record, _ in agenda.records:
            self._end(record)
        self._check_failures()

    def _work(self, assignments: Sequence[Assignment]) -> None:
        task = self._session.task
        stage = self._load()
        fetcher = Fetcher(self._spec, self._session.output, self._scratch, self._threads + AHEAD_SAMPLES)
        attempter = Attempter(stage, self._scratch, task.seed, task.retries.per_sample, self._running)
        self._session.progress.enter("running")

        def work(fetched: Fetched) -> None:
            self._check_may_go_on()
            self._sample(attempter, fetched)
            self._check_failures()

        suspects = [assignment for assignment in assignments if assignment.suspected or self._threads == 1]
        others = [assignment for assignment in assignments if not (assignment.suspected or self._threads == 1)]
        try:
            for_each(self._marked_alone(fetcher.in_order(suspects)), work, 1)
            for_each(self._marked_together(fetcher.in_order(others), others), work, self._threads)
        finally:
            fetcher.close()
            stage.close()

    def _marked_alone(self, fetched: Iterator[Fetched]) -> Iterator[Fetched]:
        """Every sample once its start is noted."""
        for each in fetched:
            if each.fault is None:
                self._recorder.start(each.assignment.sample.id, each.assignment.todo.after)
            yield each

    def _marked_together(self, fetched: Iterator[Fetched], assignments: Sequence[Assignment]) -> Iterator[Fetched]:
        """Every sample once its start is noted, with those that come soon after it: a note costs a write."""
        for position, each in enumerate(fetched):
            if position % MARKED_TOGETHER == 0:
                group = assignments[position : position + MARKED_TOGETHER]
                self._recorder.start_together([(one.sample.id, one.todo.after) for one in group])
            yield each

    def _load(self) -> Stage:
        task = self._session.task
        module, _, name = self._spec.implementation.partition(":")
        models = ModelSettings(
            cache=Path(task.models.cache) if task.models.cache else None,
            device=task.models.device,
            accepted_licences=frozenset(task.models.accept_licenses),
        )
        context = StageContext(self._spec, self._session.chain.parameters, models, self._progress)
        made: Stage = getattr(importlib.import_module(module), name)(context)
        return made

    def _progress(self, fraction: float, message: str) -> None:
        self._session.progress.update(fraction, message)
        self._session.stop.check_running(self._running.elapsed(), fraction)

    def _sample(self, attempter: Attempter, fetched: Fetched) -> None:
        sample = fetched.assignment.sample
        base = self._record_of(fetched.assignment)
        if fetched.fault is not None:
            self._fetch_failed(base, fetched.fault)
            return
        self._current[sample.id] = base
        self._session.progress.begin_sample(sample.id)
        try:
            outcome = attempter.run(fetched)
        except BaseException:
            # An orderly end: the sample has stored nothing, and has taken nothing down.
            self._recorder.forget(sample.id)
            raise
        self._wait_if_given_up()
        del self._current[sample.id]
        self._session.progress.end_sample()
        held = self._session.progress.gpu.take()
        base = replace(base, gpu_seconds=round(held.busy, 4), gpu_wait_seconds=round(held.waiting, 4))
        self._recorder.leave_process(sample.id)
        shutil.rmtree(fetched.folder, ignore_errors=True)
        if isinstance(outcome, Made):
            self._uploader.submit(_done(base, outcome), outcome.result.outputs, outcome.workspace)
        else:
            self._end(_failed(base, outcome))

    def _fetch_failed(self, base: Record, fault: BaseException) -> None:
        if not isinstance(fault, SampleError):
            raise fault
        self._end(replace(base, state="failed", reason=fault.reason, message=fault.message))

    def _record_of(self, assignment: Assignment) -> Record:
        return Record(
            sample=assignment.sample.id,
            stage=self._spec.name,
            key=self._key,
            state="started",
            fingerprint=input_fingerprint(self._spec, assignment.sample),
            upstream=assignment.upstream_hashes(),
        )

    def _end(self, record: Record) -> None:
        self._recorder.add(record, self._afters[record.sample])
        self._tally.add(record)
        print(_log_line(record), flush=True)
        self._session.progress.count(self._tally.done, self._tally.failed, self._tally.skipped)

    def _check_may_go_on(self) -> None:
        fault = self._session.stop.fault
        if fault is not None:
            raise store_fault(fault) if isinstance(fault, StoreError) else fault
        if self._session.stop.requested:
            raise Terminated(f"ended by {self._session.stop.reason}; run again to continue")

    def _check_failures(self) -> None:
        task, tally = self._session.task, self._tally
        if tally.failed and task.on_sample_error == "Fail":
            raise SampleFailed("a sample failed, and onSampleError is Fail")
        if exceeds(task.max_failed_samples, tally.failed, tally.total):
            allowed = task.max_failed_samples
            raise TooManyFailures(f"{tally.failed} of {tally.total} samples failed, maxFailedSamples is {allowed}")

    def _complete(self) -> bool:
        return all(self._tally.has(todo.sample.id) for todo in self._todos)

    def _store_rest(self) -> None:
        self._uploader.drain(self._session.stop.seconds_to_store())
        self._recorder.forget_running()
        self._recorder.close()
        self._uploader.close()

    def _wait_if_given_up(self) -> None:
        if self._given_up.is_set():
            # The watching thread is ending the process, with a record of its own for this sample.
            threading.Event().wait()


def _read_worklist(session: Session, stage: StageSpec) -> list[Todo]:
    task = session.task
    if stage.name not in session.chain.selected:
        raise ConfigurationError("step", stage.name, "is not among the selected stages of this run")
    try:
        content = session.output.get_bytes(layout.worklist(task.run, stage.name)).decode()
    except ObjectMissing as problem:
        raise ShardError(f"run {task.run} has no worklist for {stage.name}: run the index step first") from problem
    lines = [line for line in content.split("\n") if line]
    return [Todo.from_line(line) for line in shard_lines(lines, session.settings.shard, task.shards)]


def _log_line(record: Record) -> str:
    why = f": {record.reason}: {record.message[:300]}" if record.reason else ""
    took = f" in {record.seconds:.2f} s" if record.seconds else ""
    warnings = "".join(f"\n  warning: {warning}" for warning in record.warnings)
    return f"{record.stage} {record.sample} {record.state}{took}{why}{warnings}"


def _done(base: Record, made: Made) -> Record:
    return replace(
        base,
        state="done",
        seconds=round(made.seconds, 4),
        gpu_seconds=base.gpu_seconds or round(made.result.gpu_seconds, 4),
        seed=made.seed,
        backends=[_backend(use) for use in made.result.backends],
        metrics=dict(made.result.metrics),
        warnings=list(made.result.warnings),
    )


def _failed(base: Record, unmade: Unmade) -> Record:
    return replace(
        base,
        state="rejected" if unmade.rejected else "failed",
        seconds=round(unmade.seconds, 4),
        seed=unmade.seed,
        reason=unmade.reason,
        message=unmade.message,
    )


def _backend(use: BackendUse) -> dict[str, Any]:
    return {name: value for name, value in vars(use).items() if value}
