"""Several processes on one sample: one for each GPU of the Pod, or two on a CPU in tests.

The worker's own process is rank 0: it fetches, saves and uploads. It starts one more process for each further rank,
which load the stage and then get every sample's inputs as a line of JSON on their standard input. The ranks find each
other through a file on the Pod's scratch volume, anew for every sample. When one of them dies the worker's process
ends too, and the shard is tried again from the last saved state.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from scenewright_stages.contract.errors import ConfigurationError, SampleError
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import (
    Local,
    Member,
    ModelSettings,
    Ranks,
    Stage,
    StageContext,
    StageInputs,
)
from scenewright_stages.contract.task import Task
from scenewright_stages.worker.chain import Chain, resolve_chain
from scenewright_stages.worker.stage.state import MirroredState

RANK_ENVIRONMENT = "SCENEWRIGHT_RANK"
MODULE = "scenewright_stages.worker.stage.ranks"
SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class RankRequest:
    """What a further rank works on."""

    sample: Sample
    inputs: StageInputs[Any]

    def to_line(self) -> str:
        """As one line of JSON, with local paths."""
        inputs = self.inputs
        state = inputs.state
        return json.dumps(
            {
                "sample": self.sample.to_json(),
                "files": [[*key, _packed(local)] for key, local in inputs.files.items()],
                "families": {
                    stage: [
                        [one.sample.to_json(), {name: _packed(local) for name, local in one.files.items()}]
                        for one in members
                    ]
                    for stage, members in inputs.families.items()
                },
                "named": {name: str(path) for name, path in inputs.named.items()},
                "answer": dict(inputs.answer),
                "seed": inputs.seed,
                "rendezvous": inputs.ranks.rendezvous,
                "state": None
                if state is None
                else [state.step, {name: str(path) for name, path in state.files.items()}],
            }
        )


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

    def begin(self, request: RankRequest) -> None:
        """Gives a sample to the further ranks; rank 0 runs it itself."""
        line = request.to_line()
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(line + "\n")
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

    def _started(self) -> list[subprocess.Popen[str]]:
        processes = [self._start(rank) for rank in range(1, self.count)]
        for rank, process in enumerate(processes, start=1):
            threading.Thread(
                target=self._watch, args=(rank, process, self._closed), name=f"rank {rank}", daemon=True
            ).start()
        return processes

    def _start(self, rank: int) -> subprocess.Popen[str]:
        environment = {**os.environ, RANK_ENVIRONMENT: f"{rank}/{self.count}/{self._scratch}"}
        return subprocess.Popen(
            [sys.executable, "-m", MODULE], env=environment, stdin=subprocess.PIPE, text=True, start_new_session=False
        )

    def _watch(self, rank: int, process: subprocess.Popen[str], closed: threading.Event) -> None:
        code = process.wait()
        if not closed.is_set():
            self._on_death(f"rank {rank} of {self.count} ended with exit code {code}")


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
    for line in _lines():
        with tempfile.TemporaryDirectory(prefix=f"rank-{rank}-", dir=scratch) as workspace:
            sample, inputs = _unpacked(json.loads(line), chain, Path(workspace), int(rank), int(count))
            try:
                stage.process(sample, inputs)
            except (SampleError, ConfigurationError) as problem:
                # Rank 0 runs into the same and reports it.
                print(f"rank {rank}: {problem}", flush=True)


def _lines() -> Iterator[str]:
    """Lines of standard input; the process ends when it closes, even in the middle of a sample."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=read, name="requests", daemon=True).start()
    while True:
        yield lines.get()


def _unpacked(
    data: Mapping[str, Any], chain: Chain, workspace: Path, rank: int, count: int
) -> tuple[Sample, StageInputs[Any]]:
    sample = Sample.from_json(data["sample"])
    state = data["state"]
    inputs = StageInputs(
        files={(stage, name): _local(packed) for stage, name, packed in data["files"]},
        params=chain.parameters_of(sample.root),
        seed=data["seed"],
        workspace=workspace,
        families={
            stage: [
                Member(Sample.from_json(one), {name: _local(packed) for name, packed in files.items()})
                for one, files in members
            ]
            for stage, members in data["families"].items()
        },
        named={name: Path(path) for name, path in data["named"].items()},
        answer=data["answer"],
        state=None if state is None else MirroredState(state[0], {name: Path(path) for name, path in state[1].items()}),
        ranks=Ranks(rank, count, data["rendezvous"]),
    )
    return sample, inputs


def _packed(local: Local) -> str | list[str]:
    return str(local) if isinstance(local, Path) else [str(path) for path in local]


def _local(packed: str | list[str]) -> Local:
    return Path(packed) if isinstance(packed, str) else tuple(Path(path) for path in packed)


if __name__ == "__main__":
    main()
