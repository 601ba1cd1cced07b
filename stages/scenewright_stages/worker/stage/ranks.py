"""Runs several processes on one sample: one per GPU of the Pod, or two on a CPU in tests.

The worker's own process is rank 0: it fetches, saves and uploads. It starts one process for each further rank, which
loads the stage and then gets every sample with its inputs, pickled, on standard input. For every sample the ranks
rendezvous through a new file on the Pod's scratch volume. If one of them dies, the worker's process ends too, and the
shard is retried from the last saved state.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from scenewright_stages.contract.errors import ConfigurationError, SampleError
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import (
    ModelSettings,
    Ranks,
    Stage,
    StageContext,
    StageInputs,
)
from scenewright_stages.contract.task import Task
from scenewright_stages.worker.chain import resolve_chain
from scenewright_stages.worker.stage.state import MirroredState

RANK_ENVIRONMENT = "SCENEWRIGHT_RANK"
MODULE = "scenewright_stages.worker.stage.ranks"
SETTLE_SECONDS = 1.0
_VISIBLE = "CUDA_VISIBLE_DEVICES"


class RankProcesses:
    """The processes of ranks 1 and up. Close it to end them.

    Args:
        count: number of ranks, including the worker's own process.
        scratch: folder for rendezvous files and the ranks' workspaces.
        on_death: called from a thread, with a message, if a process dies before :meth:`close`.
    """

    def __init__(self, count: int, scratch: Path, on_death: Callable[[str], None]) -> None:
        self.count = count
        self._scratch, self._samples, self._on_death = scratch, 0, on_death
        self._closed = threading.Event()
        self._processes = self._started()

    def ranks(self) -> Ranks:
        """Rank 0's :class:`Ranks` for the next sample."""
        self._samples += 1
        return Ranks(0, self.count, f"file://{self._scratch}/rendezvous-{self._samples}" if self.count > 1 else "")

    def begin(self, sample: Sample, inputs: StageInputs[Any]) -> None:
        """Sends a sample to the other ranks; rank 0 runs it itself."""
        state = inputs.state
        mirrored = None if state is None else MirroredState(state.step, state.files)
        request = pickle.dumps((sample, replace(inputs, state=mirrored)))
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(request)
            process.stdin.flush()

    def restart_unless_dead(self) -> None:
        """Restarts the other ranks after rank 0 failed, because they may be waiting for it in the middle of a sample.

        First gives them a moment to die of the same cause. If one did, this process ends and the call never returns.
        """
        time.sleep(SETTLE_SECONDS)
        if any(process.poll() is not None for process in self._processes):
            threading.Event().wait()
        self.close()
        self._closed = threading.Event()
        self._processes = self._started()

    def close(self) -> None:
        """Ends the processes."""
        self._closed.set()
        for process in self._processes:
            process.kill()
            process.wait()

    def _started(self) -> list[subprocess.Popen[bytes]]:
        processes = [self._start(rank) for rank in range(1, self.count)]
        for rank, process in enumerate(processes, start=1):
            threading.Thread(
                target=self._watch, args=(rank, process, self._closed), name=f"rank {rank}", daemon=True
            ).start()
        return processes

    def _start(self, rank: int) -> subprocess.Popen[bytes]:
        own = {RANK_ENVIRONMENT: f"{rank}/{self.count}/{self._scratch}", **own_gpu(rank, os.environ)}
        environment = {**os.environ, **own}
        return subprocess.Popen([sys.executable, "-m", MODULE], env=environment, stdin=subprocess.PIPE)

    def _watch(self, rank: int, process: subprocess.Popen[bytes], closed: threading.Event) -> None:
        code = process.wait()
        if not closed.is_set():
            self._on_death(f"rank {rank} of {self.count} ended with exit code {code}")


def own_gpu(rank: int, environment: Mapping[str, str]) -> dict[str, str]:
    """Environment variables that restrict a rank to its own GPU.

    Every process then sees its GPU as number 0. Compiled code contains the GPU's number, so all ranks can share it.
    """
    shown = environment.get(_VISIBLE)
    names = [str(number) for number in range(rank + 1)] if shown is None else shown.split(",")
    return {_VISIBLE: names[rank]} if rank < len(names) else {}


def load_stage(spec: StageSpec, context: StageContext[Any]) -> Stage[Any]:
    """Instantiates the stage, which loads its models."""
    made: Stage[Any] = resolve_name(spec.implementation)(context)
    return made


def model_settings(task: Task) -> ModelSettings:
    """The task's model settings."""
    return ModelSettings(
        cache=Path(task.models.cache) if task.models.cache else None,
        device=task.models.device,
        accepted_licences=frozenset(task.models.accept_licenses),
    )


def main() -> None:
    """Entry point of ranks 1 and up: works on the samples that rank 0 sends until standard input closes."""
    rank, count, scratch = os.environ[RANK_ENVIRONMENT].split("/", 2)
    task = Task.from_environment()
    chain = resolve_chain(task)
    spec = chain.stage(task.step)
    stage = load_stage(spec, StageContext(spec, chain.parameters, model_settings(task)))
    for sample, inputs in _requests():
        with tempfile.TemporaryDirectory(prefix=f"rank-{rank}-", dir=scratch) as workspace:
            own = Ranks(int(rank), int(count), inputs.ranks.rendezvous)
            try:
                stage.process(sample, replace(inputs, workspace=Path(workspace), ranks=own))
            except (SampleError, ConfigurationError) as problem:
                # Rank 0 will hit the same error and report it.
                print(f"rank {rank}: {problem}", flush=True)


def _requests() -> Iterator[tuple[Sample, StageInputs[Any]]]:
    """The requests of rank 0 on standard input; the process ends when that closes, even in the middle of a sample."""
    requests: queue.SimpleQueue[tuple[Sample, StageInputs[Any]]] = queue.SimpleQueue()

    def read() -> None:
        try:
            while True:
                requests.put(pickle.load(sys.stdin.buffer))
        except EOFError:
            os._exit(0)
        except Exception:
            # Report the failure, or rank 0 would wait forever.
            traceback.print_exc()
            os._exit(1)

    threading.Thread(target=read, name="requests", daemon=True).start()
    while True:
        yield requests.get()


if __name__ == "__main__":
    main()
