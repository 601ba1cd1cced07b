"""Runs samples through a stage's code: threads, retries and error handling."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from scenewright_stages.contract.errors import (
    Abandoned,
    ConfigurationError,
    SampleError,
    SampleRejected,
    ShardError,
)
from scenewright_stages.contract.faults import PackageMissing, is_program_fault, missing_package
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageInputs, StageResult
from scenewright_stages.worker.worklists import WorkItem

OUT_OF_GPU_MEMORY = "CudaOutOfMemory"
OUT_OF_MEMORY = "OutOfMemory"
MAXIMUM_MESSAGE = 2000
THREAD_VARIABLE = "OMP_NUM_THREADS"
"""Set by whoever starts the process to the number of CPUs that it may use."""
CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")
MAXIMUM_THREADS = 32

Item = TypeVar("Item")


@dataclass(frozen=True)
class SampleOutcome:
    """The outcome of a sample in a stage.

    Attributes:
        workspace: holds the outputs, which passed their contracts.
        seconds: run time of its code, including retries.
        result: None if the stage failed or found nothing for the pipeline.
        reason, message: why there is no result.
        rejected: whether the sample holds nothing for the pipeline.
    """

    workspace: Path
    seconds: float
    result: StageResult | None = None
    reason: str = ""
    message: str = ""
    rejected: bool = False


class RunningSamples:
    """The running samples, each in its thread, with their start times; shared with the watching threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[int, tuple[str, float]] = {}

    def begin(self, name: str) -> None:
        """The sample's code starts in the calling thread."""
        with self._lock:
            self._running[threading.get_ident()] = (name, time.monotonic())

    def end(self) -> None:
        """The code of the calling thread's sample ended."""
        with self._lock:
            self._running.pop(threading.get_ident(), None)

    def renew(self) -> None:
        """The calling thread's sample saved its state, so its time starts again."""
        with self._lock:
            name, _ = self._running.get(threading.get_ident(), ("", 0.0))
            if name:
                self._running[threading.get_ident()] = (name, time.monotonic())

    def elapsed(self) -> float:
        """How many seconds the calling thread's sample has been running; 0 if none is."""
        with self._lock:
            name, since = self._running.get(threading.get_ident(), ("", 0.0))
            return time.monotonic() - since if name else 0.0

    def take(self, older_than: float = 0.0) -> str | None:
        """Removes and returns the oldest sample that has run for `older_than` seconds; it then counts as ended."""
        with self._lock:
            thread, (name, since) = min(self._running.items(), key=lambda entry: entry[1][1], default=(0, ("", 0.0)))
            if not name or time.monotonic() - since < older_than:
                return None
            del self._running[thread]
            return name


class SampleRunner:
    """Runs samples through a stage; may be called from several threads.

    Args:
        stage: the implementation, models loaded.
        scratch: folder for the workspaces.
        retries: how often to retry a sample after an unexpected exception. None disables all retries, even after
            running out of memory: with several ranks the others would not notice the restart.
        running: tracks the running samples.
        inputs: makes the inputs of an item in a workspace.
    """

    def __init__(
        self,
        stage: Stage[Any],
        scratch: Path,
        retries: int | None,
        running: RunningSamples,
        inputs: Callable[[WorkItem, Path], StageInputs[Any]],
    ) -> None:
        self._stage, self._scratch, self._retries = stage, scratch, retries
        self._running, self._inputs = running, inputs
        self._workspaces = itertools.count(1)

    def run(self, item: WorkItem) -> SampleOutcome:
        """Makes and checks the outputs of one sample.

        Raises:
            ConfigurationError, ShardError: raised by the stage, or scratch space is used up.
            Abandoned: the process must end.
        """
        started = time.monotonic()
        tries_left, reduced = self._retries or 0, self._retries is None
        while True:
            workspace = self._new_workspace()
            try:
                result = self._process(item, workspace)
                return SampleOutcome(workspace, time.monotonic() - started, result)
            except (ConfigurationError, ShardError, Abandoned):
                shutil.rmtree(workspace, ignore_errors=True)
                raise
            except SampleError as problem:
                rejected = isinstance(problem, SampleRejected)
                failure = self._failure(workspace, problem.reason, problem.message, started, rejected)
            except Exception as problem:
                _refuse_full_scratch(problem, self._scratch)
                if lacking := missing_package(problem):
                    # It is missing for every sample.
                    raise PackageMissing(self._stage.context.stage.name, lacking) from problem
                reason = memory_reason(problem)
                traceback.print_exc()
                failure = self._failure(workspace, reason or type(problem).__name__, str(problem), started)
                retry = (
                    not reduced and self._free_memory() if reason else tries_left > 0 and not is_program_fault(problem)
                )
                if retry:
                    reduced, tries_left = reduced or bool(reason), tries_left - (not reason)
                    shutil.rmtree(workspace, ignore_errors=True)
                    continue
            shutil.rmtree(workspace, ignore_errors=True)
            return failure

    def _process(self, item: WorkItem, workspace: Path) -> StageResult:
        # NumPy and Pillow take half a second to import; index, publish and an empty worklist do not need them.
        from scenewright_stages.worker.stage.checks import check_result

        inputs = self._inputs(item, workspace)
        self._running.begin(item.sample.id)
        try:
            result = self._stage.process(visible(item, self._stage), inputs)
            check_result(self._stage.context.stage, result, workspace)
            return result
        finally:
            self._running.end()

    def _failure(
        self, workspace: Path, reason: str, message: str, started: float, rejected: bool = False
    ) -> SampleOutcome:
        # Temporary paths mean nothing to a user and differ between runs.
        plain = message.replace(str(self._scratch), "<scratch>")[:MAXIMUM_MESSAGE]
        return SampleOutcome(workspace, time.monotonic() - started, None, reason, plain, rejected)

    def _new_workspace(self) -> Path:
        workspace = self._scratch / f"{next(self._workspaces)}-outputs"
        workspace.mkdir(parents=True)
        return workspace

    def _free_memory(self) -> bool:
        """Frees memory; True if the stage has a smaller setting to retry at."""
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self._stage.reduce_memory()


def visible(item: WorkItem, stage: Stage[Any]) -> Sample:
    """The sample with only the attributes that the stage declares."""
    return item.sample.with_only(stage.context.stage.attributes)


def memory_reason(problem: BaseException) -> str:
    """The failure reason if memory ran out, else empty. Does not import torch to find out."""
    if isinstance(problem, MemoryError):
        return OUT_OF_MEMORY
    if type(problem).__name__ == "OutOfMemoryError" and type(problem).__module__.startswith("torch"):
        return OUT_OF_GPU_MEMORY
    return OUT_OF_GPU_MEMORY if "CUDA out of memory" in str(problem) else ""


def _refuse_full_scratch(problem: BaseException, scratch: Path) -> None:
    if isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT):
        raise ShardError(
            f"no scratch space is left in {scratch.parent}; free some, or raise the scratch size"
        ) from problem


def thread_count(wanted: int, environment: Mapping[str, str] = os.environ, limit: Path = CGROUP_LIMIT) -> int:
    """The number of threads that a stage asks for; 0 means one per CPU that this process may use."""
    if wanted:
        return wanted
    configured = environment.get(THREAD_VARIABLE, "")
    cpus = int(configured) if configured.isdigit() else min(len(os.sched_getaffinity(0)), _cgroup_cpus(limit))
    return max(1, min(cpus, MAXIMUM_THREADS))


def _cgroup_cpus(limit: Path) -> int:
    """CPUs that the cgroup allows; otherwise a container sees all CPUs of its node."""
    try:
        quota, period = limit.read_text().split()[:2]
        return MAXIMUM_THREADS if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return MAXIMUM_THREADS


def for_each(items: Iterable[Item], work: Callable[[Item], None], threads: int) -> None:
    """Calls `work` with every item; `threads=1` uses the calling thread, which suits debuggers.

    After an exception it takes no further items, waits for the running calls, and raises the first exception.
    """
    if threads == 1:
        for item in items:
            work(item)
        return
    room = threading.Semaphore(threads)
    faults: list[BaseException] = []

    def settle(future: Future[None]) -> None:
        fault = future.exception()
        if fault is not None:
            faults.append(fault)
        room.release()

    with ThreadPoolExecutor(threads, thread_name_prefix="sample") as pool:
        for item in items:
            room.acquire()
            if faults:
                room.release()
                break
            pool.submit(work, item).add_done_callback(settle)
    if faults:
        raise faults[0]
