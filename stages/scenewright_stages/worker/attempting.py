"""One sample through one stage: tries, retries, and what becomes of its errors."""

from __future__ import annotations

import errno
import gc
import itertools
import shutil
import sys
import threading
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

from scenewright_stages.contract.errors import ConfigurationError, SampleError, SampleRejected, ShardError
from scenewright_stages.contract.keys import seed_for
from scenewright_stages.contract.stage import Stage, StageInputs, StageResult
from scenewright_stages.worker.fetching import Fetched
from scenewright_stages.worker.stopping import Abandoned

OUT_OF_GPU_MEMORY = "CudaOutOfMemory"
OUT_OF_MEMORY = "OutOfMemory"
MAXIMUM_MESSAGE = 2000


@dataclass(frozen=True)
class Made:
    """A sample whose outputs passed their contracts and wait in the workspace."""

    result: StageResult
    workspace: Path
    seed: int
    seconds: float


@dataclass(frozen=True)
class Unmade:
    """A sample that failed, or in which there is nothing for the pipeline."""

    reason: str
    message: str
    seed: int
    seconds: float
    rejected: bool = False


class RunningSamples:
    """Which samples' code runs now, each in its thread, and since when: shared with the threads that watch them."""

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

    def elapsed(self) -> float:
        """Seconds for which the calling thread's sample has been running, 0 when none does."""
        with self._lock:
            name, since = self._running.get(threading.get_ident(), ("", 0.0))
            return time.monotonic() - since if name else 0.0

    def take(self, older_than: float = 0.0) -> str | None:
        """One that has run so long, the oldest first; from then on it counts as ended."""
        with self._lock:
            thread, (name, since) = min(self._running.items(), key=lambda entry: entry[1][1], default=(0, ("", 0.0)))
            if not name or time.monotonic() - since < older_than:
                return None
            del self._running[thread]
            return name


class Attempter:
    """Runs samples through a stage; may be called from several threads.

    Args:
        stage: the implementation, models loaded.
        scratch: takes the workspaces.
        job_seed: from which the samples' seeds follow.
        retries: how often a sample is tried again after an unexpected exception.
        running: told what runs.
    """

    def __init__(self, stage: Stage, scratch: Path, job_seed: int, retries: int, running: RunningSamples) -> None:
        self._stage, self._scratch = stage, scratch
        self._job_seed, self._retries = job_seed, retries
        self._running = running
        self._workspaces = itertools.count(1)

    def run(self, fetched: Fetched) -> Made | Unmade:
        """Makes the outputs of one sample and checks them.

        Raises:
            ConfigurationError, ShardError: the stage says so, or scratch space is used up.
            Abandoned: the process must end.
        """
        sample = fetched.assignment.sample
        seed = seed_for(self._job_seed, self._stage.context.stage.name, sample.id)
        started = time.monotonic()
        tries_left, reduced = self._retries, False
        while True:
            workspace = self._new_workspace()
            try:
                result = self._process(fetched, StageInputs(fetched.files, seed, workspace))
                return Made(result, workspace, seed, time.monotonic() - started)
            except (ConfigurationError, ShardError, Abandoned):
                shutil.rmtree(workspace, ignore_errors=True)
                raise
            except SampleError as problem:
                unmade = self._unmade(problem.reason, problem.message, seed, started)
                unmade = replace(unmade, rejected=isinstance(problem, SampleRejected))
            except Exception as problem:
                _refuse_full_scratch(problem, self._scratch)
                reason = memory_reason(problem)
                traceback.print_exc()
                unmade = self._unmade(reason or type(problem).__name__, str(problem), seed, started)
                retry = not reduced and self._free_memory() if reason else tries_left > 0
                if retry:
                    reduced, tries_left = reduced or bool(reason), tries_left - (not reason)
                    shutil.rmtree(workspace, ignore_errors=True)
                    continue
            shutil.rmtree(workspace, ignore_errors=True)
            return unmade

    def _process(self, fetched: Fetched, inputs: StageInputs) -> StageResult:
        # Numpy and Pillow: half a second that index, publish and an empty worklist need not spend.
        from scenewright_stages.worker.checks import check_result

        sample = fetched.assignment.sample
        self._running.begin(sample.id)
        try:
            result = self._stage.process(sample, inputs)
            check_result(self._stage.context.stage, result, inputs.workspace)
            return result
        finally:
            self._running.end()

    def _unmade(self, reason: str, message: str, seed: int, started: float) -> Unmade:
        # Temporary paths say nothing to a user and differ from run to run.
        plain = message.replace(str(self._scratch), "<scratch>")[:MAXIMUM_MESSAGE]
        return Unmade(reason, plain, seed, time.monotonic() - started)

    def _new_workspace(self) -> Path:
        workspace = self._scratch / f"{next(self._workspaces)}-outputs"
        workspace.mkdir(parents=True)
        return workspace

    def _free_memory(self) -> bool:
        """Frees what it can; True when the stage has a smaller setting to retry at."""
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self._stage.reduce_memory()


def memory_reason(problem: BaseException) -> str:
    """The failure's own class when memory ran out, else nothing. Does not load torch to find out."""
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
