"""The stage step: every sample of the shard's worklist gets a record.

`StageRun` reads the worklist, drops what is already decided (:mod:`~scenewright_stages.worker.stage.shard_plan`),
prefetches inputs, runs the stage's code (:mod:`~scenewright_stages.worker.stage.sample_runner`) and stores outputs in
the background: outputs first, record last.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from scenewright_stages.contract import layout
from scenewright_stages.contract.errors import (
    Abandoned,
    ConfigurationError,
    SampleError,
    ScenewrightError,
    ShardError,
)
from scenewright_stages.contract.keys import seed_for
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.samples import WHOLE_LEVEL
from scenewright_stages.contract.stage import Ranks, Stage, StageContext, StageInputs
from scenewright_stages.store import ObjectMissing, StoreError
from scenewright_stages.worker.chain import Population
from scenewright_stages.worker.evidence import (
    check_answer,
    read_answers,
    read_histories,
    read_index,
    read_run_inputs,
    stored_sizes,
    taking_part,
)
from scenewright_stages.worker.process.endings import (
    SampleFailed,
    SampleTimeout,
    Terminated,
    TooManyFailures,
    exceeds,
)
from scenewright_stages.worker.process.session import Session, store_fault
from scenewright_stages.worker.publications import fetch_named, resolve
from scenewright_stages.worker.stage.fetching import AHEAD_SAMPLES, Fetcher
from scenewright_stages.worker.stage.ranks import RankProcesses, load_stage, model_settings
from scenewright_stages.worker.stage.recording import Recorder, Start
from scenewright_stages.worker.stage.sample_runner import (
    RunningSamples,
    SampleOutcome,
    SampleRunner,
    for_each,
    thread_count,
    visible,
)
from scenewright_stages.worker.stage.shard_plan import ShardPlan, ShardPlanner, families_of
from scenewright_stages.worker.stage.state import SavedState, open_state
from scenewright_stages.worker.stage.tally import Tally
from scenewright_stages.worker.stage.uploading import Uploader
from scenewright_stages.worker.states import Evidence
from scenewright_stages.worker.worklists import WorkItem, shard_lines

MARKED_TOGETHER = 16
"""Samples whose start is noted by one write where they run beside each other."""


class StageRun:
    """One stage on one shard, in this process.

    Args:
        session: the process.
        scratch: an empty folder for inputs and workspaces.

    Raises:
        ConfigurationError: the chain lacks the stage.
        ShardError: there is no worklist.
    """

    def __init__(self, session: Session, scratch: Path) -> None:
        task, settings = session.task, session.settings
        self._session, self._scratch = session, scratch
        self._spec = session.chain.stage(task.step)
        self._key = session.chain.keys[self._spec.name]
        self._items = _read_worklist(session, self._spec)
        self._tally = Tally(self._spec.name, len(self._items))
        self._recorder = Recorder(
            session.output, self._spec.name, self._key, task.run, settings.shard, settings.attempt
        )
        self._uploader = Uploader(session.output, self._spec, self._end, session.stop.fail, self._recorder.announce)
        self._running = RunningSamples()
        self._current: dict[str, Record] = {}
        self._threads = thread_count(self._spec.pod.threads)
        self._afters: dict[str, float] = {item.sample.id: item.after for item in self._items}
        self._ranks: RankProcesses | None = None
        self._named: dict[str, Path] = {}
        self._input_hashes = read_run_inputs(session.output, task.run) if task.inputs else {}
        self._given_up = threading.Event()

    def run(self) -> Report:
        """Works until every sample has a record.

        Raises:
            ConfigurationError, ShardError, SampleFailed, TooManyFailures, Terminated: why it ended early.
        """
        self._session.progress.begin_step(self._spec.name, "loading", self._tally.total)
        try:
            plan = self._plan()
            self._settle(plan)
            if plan.items:
                self._work(plan.items)
                self._session.progress.enter("uploading")
                self._recorder.store_marks()
                self._uploader.drain()
            self._check_may_continue()
            self._store_rest()
        except StoreError as problem:
            self.abandon()
            raise store_fault(problem) from problem
        except Abandoned:
            self.abandon()
            self._check_may_continue()
            raise
        except BaseException as problem:
            # Stages that keep state are restarted very often, so a stage that cannot be loaded must count as a failure.
            unexpected = isinstance(problem, Exception) and not isinstance(problem, ScenewrightError)
            self.abandon(blames_running=self._spec.keeps_state and unexpected)
            raise
        if not all(self._tally.has(item.sample.id) for item in self._items):
            raise ShardError("samples of this shard ended without a record")
        self._session.progress.enter("finished")
        return self.report()

    def report(self) -> Report:
        """The shard's report so far."""
        gpu = self._session.progress.gpu.rest()
        return self._tally.report(self._session.task.run, gpu, self._recorder.wall_seconds())

    def flush_if_due(self) -> None:
        """Periodic duty: flushes records that are due."""
        self._recorder.flush_if_due()

    def give_up_late_sample(self) -> ScenewrightError | None:
        """Records a sample that ran too long as failed; returns the error that must end the process, if any."""
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
        """Ends the work from a watching thread; the main thread gets no further."""
        self._given_up.set()
        self.abandon()

    def keep_marks(self) -> None:
        """Stores ended samples before a simulated crash; running samples stay marked as started."""
        self._given_up.set()
        try:
            self._recorder.close()
        except StoreError as problem:
            print(f"records could not be stored: {problem}", file=sys.stderr, flush=True)

    def abandon(self, blames_running: bool = False) -> None:
        """Stores what it can before the process ends early; `blames_running` makes running samples the suspects."""
        try:
            self._store_rest(blames_running)
        except StoreError as problem:
            print(f"records could not be stored: {problem}", file=sys.stderr, flush=True)

    def _plan(self) -> ShardPlan:
        session, chain = self._session, self._session.chain
        stages = chain.closure(self._spec.name)
        population = self._population()
        wanted = {sample.id for level in population.values() for sample in level}
        sizes = stored_sizes(session.output, chain.pipeline.hosts) if any(stage.asks for stage in stages) else {}
        evidence = Evidence(
            read_histories(session.output, [stage.name for stage in stages], wanted.__contains__),
            None,
            self._input_hashes,
            read_answers(chain, population, session.output, sizes),
        )
        planner = ShardPlanner(chain, self._spec, population, session.task.run, session.task.retries.per_sample)
        return planner.plan(self._items, evidence)

    def _population(self) -> Population:
        """The families of the shard's samples; all families if a stage reads the whole job."""
        chain = self._session.chain
        if any(chain.levels[stage.name] == WHOLE_LEVEL for stage in chain.closure(self._spec.name)):
            return chain.population(taking_part(read_index(self._session.output)))
        return chain.population(families_of(self._items))

    def _settle(self, plan: ShardPlan) -> None:
        for record in plan.ended:
            self._tally.add(record)
        for record, _ in plan.records:
            self._end(record)
        self._check_failures()

    def _work(self, items: Sequence[WorkItem]) -> None:
        task = self._session.task
        if self._spec.pod.processes > 1:
            self._ranks = RankProcesses(self._spec.pod.processes, self._scratch, self._session.stop.end_process)
        if self._spec.keeps_state:
            # Its process may be restarted very often, so dying while loading must count too.
            self._recorder.start(self._start_of(items[0]))
        stage = self._load()
        self._named = self._fetch_named()
        fetcher = Fetcher(self._spec, self._session.output, self._scratch, self._threads + AHEAD_SAMPLES)
        retries = task.retries.per_sample if self._ranks is None else None
        runner = SampleRunner(stage, self._scratch, retries, self._running, self._inputs(stage))
        self._session.progress.enter("running")

        def work(item: WorkItem) -> None:
            self._check_may_continue()
            self._sample(runner, item)
            self._check_failures()

        suspects = [item for item in items if item.suspected or self._threads == 1]
        others = [item for item in items if not (item.suspected or self._threads == 1)]
        try:
            for_each(self._marked_alone(fetcher.in_order(suspects)), work, 1)
            for_each(self._marked_together(fetcher.in_order(others), others), work, self._threads)
        finally:
            fetcher.close()
            stage.close()
            if self._ranks is not None:
                self._ranks.close()

    def _marked_alone(self, items: Iterator[WorkItem]) -> Iterator[WorkItem]:
        """Yields every sample after durably marking its start."""
        for item in items:
            if item.fault is None:
                self._recorder.start(self._start_of(item))
            yield item

    def _marked_together(self, fetched: Iterator[WorkItem], items: Sequence[WorkItem]) -> Iterator[WorkItem]:
        """Yields every sample after durably marking its start; marks several at once to save writes."""
        for position, item in enumerate(fetched):
            if position % MARKED_TOGETHER == 0:
                group = items[position : position + MARKED_TOGETHER]
                self._recorder.start_together([self._start_of(one) for one in group])
            yield item

    def _start_of(self, item: WorkItem) -> Start:
        return Start(item.sample.id, item.after, self._path_attributes(item))

    def _path_attributes(self, item: WorkItem) -> dict[str, Any]:
        names = {name for output in self._spec.outputs for name in output.attributes()}
        return {name: item.sample.attributes[name] for name in sorted(names) if name in item.sample.attributes}

    def _load(self) -> Stage[Any]:
        session = self._session
        context = StageContext(
            self._spec,
            session.chain.parameters,
            model_settings(session.task),
            self._progress,
            session.progress.measure,
            session.stop.should_stop,
        )
        return load_stage(self._spec, context)

    def _fetch_named(self) -> dict[str, Path]:
        """Local paths of the named inputs, fetched once for all samples."""
        places: dict[str, Path] = {}
        for name in self._spec.inputs:
            if wanted := self._session.task.inputs.get(name):
                # The hash that the fingerprints contain; the input may have changed since.
                wanted = wanted.model_copy(update={"hash": self._input_hashes.get(name, wanted.hash)})
                places[name] = fetch_named(wanted, resolve(name, wanted), self._scratch / "named" / name)
        return places

    def _inputs(self, stage: Stage[Any]) -> Any:
        """The function that makes the inputs of an item."""

        def make(item: WorkItem, workspace: Path) -> StageInputs[Any]:
            inputs = StageInputs(
                files=item.files,
                params=self._session.chain.parameters_of(item.sample.root),
                seed=seed_for(self._session.task.seed, self._spec.name, item.sample.id),
                workspace=workspace,
                families=item.members,
                named=self._named,
                hashes={name: self._input_hashes[name] for name in self._named if name in self._input_hashes},
                answer=self._answer(item),
                state=self._state(item) if self._spec.keeps_state else None,
                ranks=self._ranks.ranks() if self._ranks is not None else Ranks(),
            )
            if self._ranks is not None:
                self._ranks.begin(visible(item, stage), inputs)
            return inputs

        return make

    def _answer(self, item: WorkItem) -> Mapping[str, str]:
        """A person's answer for the sample.

        Raises:
            SampleError: the answer is invalid (reason ``BadAnswer``).
        """
        ask = self._spec.asks
        if ask is None or not item.answer:
            return {}
        try:
            return check_answer(json.loads(self._session.output.get_bytes(item.answer)), ask.options(item.sample))
        except (ValueError, ScenewrightError) as problem:
            raise SampleError("BadAnswer", f"{item.answer}: {problem}") from problem

    def _state(self, item: WorkItem) -> SavedState:
        name = item.sample.id

        def saved(step: int) -> None:
            self._recorder.advance(name, step)
            self._running.renew()

        folder = item.folder / "state"
        state = open_state(self._session.output, self._spec.name, self._key, item, folder, saved)
        if state.step:
            self._recorder.advance(name, state.step)
        return state

    def _progress(self, fraction: float, message: str) -> None:
        self._session.progress.update(fraction, message)
        self._session.stop.check_running(self._running.elapsed(), fraction)

    def _sample(self, runner: SampleRunner, item: WorkItem) -> None:
        sample = item.sample
        base = self._record_of(item)
        if item.fault is not None:
            self._fetch_failed(base, item.fault)
            return
        self._current[sample.id] = base
        self._session.progress.begin_sample(sample.id)
        try:
            outcome = runner.run(item)
        except BaseException:
            # An orderly end: the sample has stored nothing and crashed nothing.
            self._recorder.forget(sample.id)
            raise
        if self._ranks is not None and outcome.result is None:
            self._ranks.restart_unless_dead()
        self._wait_if_given_up()
        del self._current[sample.id]
        self._session.progress.end_sample()
        held = self._session.progress.gpu.take()
        base = replace(base, gpu_seconds=round(held.busy, 4), gpu_wait_seconds=round(held.waiting, 4))
        self._recorder.leave_process(sample.id)
        shutil.rmtree(item.folder, ignore_errors=True)
        record = self._ended(base, outcome)
        if outcome.result is not None:
            self._uploader.submit(record, sample, outcome.result.outputs, outcome.workspace)
        else:
            self._end(record)

    def _fetch_failed(self, base: Record, fault: BaseException) -> None:
        if not isinstance(fault, SampleError):
            raise fault
        self._end(replace(base, state="failed", reason=fault.reason, message=fault.message))

    def _record_of(self, item: WorkItem) -> Record:
        return Record(
            sample=item.sample.id,
            stage=self._spec.name,
            key=self._key,
            state="started",
            fingerprint=item.fingerprint,
            upstream={stage: dict(hashes) for stage, hashes in item.hashes.items()},
            attributes=self._path_attributes(item),
        )

    def _ended(self, base: Record, outcome: SampleOutcome) -> Record:
        seed = seed_for(self._session.task.seed, self._spec.name, base.sample)
        base = replace(base, seconds=round(outcome.seconds, 4), seed=seed)
        if outcome.result is None:
            return replace(
                base, state="rejected" if outcome.rejected else "failed", reason=outcome.reason, message=outcome.message
            )
        return replace(
            base,
            state="done",
            gpu_seconds=base.gpu_seconds or round(outcome.result.gpu_seconds, 4),
            backends=[use.to_json() for use in outcome.result.backends],
            metrics=dict(outcome.result.metrics),
            warnings=list(outcome.result.warnings),
        )

    def _end(self, record: Record) -> None:
        self._recorder.add(record, self._afters[record.sample])
        self._tally.add(record)
        print(_log_line(record), flush=True)
        self._session.progress.count(self._tally.done, self._tally.failed, self._tally.skipped)

    def _check_may_continue(self) -> None:
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

    def _store_rest(self, blames_running: bool = False) -> None:
        self._uploader.drain(self._session.stop.seconds_to_store())
        if not blames_running:
            self._recorder.forget_running()
        self._recorder.close()
        self._uploader.close()

    def _wait_if_given_up(self) -> None:
        if self._given_up.is_set():
            # The watching thread is ending the process and records this sample itself.
            threading.Event().wait()


def _read_worklist(session: Session, stage: StageSpec) -> list[WorkItem]:
    task = session.task
    if stage.name not in session.chain.selected:
        raise ConfigurationError("step", stage.name, "is not among the selected stages of this run")
    try:
        content = session.output.get_bytes(layout.worklist(task.run, stage.name)).decode()
    except ObjectMissing as problem:
        raise ShardError(f"run {task.run} has no worklist for {stage.name}: run the index step first") from problem
    lines = [line for line in content.split("\n") if line]
    return [WorkItem.from_line(line) for line in shard_lines(lines, session.settings.shard, task.shards)]


def _log_line(record: Record) -> str:
    why = f": {record.reason}: {record.message[:300]}" if record.reason else ""
    took = f" in {record.seconds:.2f} s" if record.seconds else ""
    warnings = "".join(f"\n  warning: {warning}" for warning in record.warnings)
    return f"{record.stage} {record.sample} {record.state}{took}{why}{warnings}"
