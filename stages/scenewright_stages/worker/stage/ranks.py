"""Several processes on one sample: one for each GPU of the Pod, or two on a CPU in tests.

The worker's own process is rank 0: it fetches, saves and uploads. It starts one more process for each further rank,
which load the stage and then get every sample with its inputs, pickled, on their standard input. The ranks find each
other through a file on the Pod's scratch volume, anew for every sample. When one of them dies the worker's process
ends too, and the shard is tried again from the last saved state.
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
    """The further ranks of a stage. Close it to end them.

    Args:
        count: of all ranks, the worker's own process included.
        scratch: folder for rendezvous files and their workspaces.
        on_death: called from a thread, with a message, when one of them ends before it is closed.
    """

    def __init__(self, count: int, scratch: Path, on_death: Callable[[str], None]) -> None:
        self.count = count
        self._scratch, self._samples, self._on_death = scratch, 0, on_death
        self._closed = threading.Event()
        self._processes = self._started()

    def ranks(self) -> Ranks:
        """The ranks for the next sample, as rank 0 sees them."""
        self._samples += 1
        return Ranks(0, self.count, f"file://{self._scratch}/rendezvous-{self._samples}" if self.count > 1 else "")

    def begin(self, sample: Sample, inputs: StageInputs[Any]) -> None:
        """Gives a sample to the further ranks; rank 0 runs it itself."""
        state = inputs.state
        mirrored = None if state is None else MirroredState(state.step, state.files)
        request = pickle.dumps((sample, replace(inputs, state=mirrored)))
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(request)
            process.stdin.flush()

    def restart_unless_dead(self) -> None:
        """After rank 0 failed: gives the others a moment to have died of the same, else starts them afresh.

        They may wait for rank 0 in the middle of a sample. Does not return when one died: the process ends then.
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
    """Variables by which a further rank sees its own GPU alone.

    To every process its GPU is the first, so they share compiled code, which names the number of its GPU.
    """
    shown = environment.get(_VISIBLE)
    names = [str(number) for number in range(rank + 1)] if shown is None else shown.split(",")
    return {_VISIBLE: names[rank]} if rank < len(names) else {}


def load_stage(spec: StageSpec, context: StageContext[Any]) -> Stage[Any]:
    """The stage's implementation, models loaded."""
    made: Stage[Any] = resolve_name(spec.implementation)(context)
    return made


def model_settings(task: Task) -> ModelSettings:
    """Where the task's models come from and what may be used."""
    return ModelSettings(
        cache=Path(task.models.cache) if task.models.cache else None,
        device=task.models.device,
        accepted_licences=frozenset(task.models.accept_licenses),
    )


def main() -> None:
    """One further rank: works on the samples that rank 0 names until standard input closes."""
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
                # Rank 0 runs into the same and reports it.
                print(f"rank {rank}: {problem}", flush=True)


def _requests() -> Iterator[tuple[Sample, StageInputs[Any]]]:
    """What rank 0 writes to standard input; the process ends when that closes, even in the middle of a sample."""
    requests: queue.SimpleQueue[tuple[Sample, StageInputs[Any]]] = queue.SimpleQueue()

    def read() -> None:
        try:
            while True:
                requests.put(pickle.load(sys.stdin.buffer))
        except EOFError:
            os._exit(0)
        except Exception:
            # Without this process rank 0 would wait for it.
            traceback.print_exc()
            os._exit(1)

    threading.Thread(target=read, name="requests", daemon=True).start()
    while True:
        yield requests.get()


if __name__ == "__main__":
    main()
