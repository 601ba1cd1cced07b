"""A job on S3 whose shards are worked on by real processes as Pods would have them, and what is known of each."""

from __future__ import annotations

import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from summaries import untimed
from toy_harness import Started, Toy
from toy_noting import Behaviour, Note, read_notes

from scenewright.execution.jobs import PodSettings
from scenewright.execution.jobs.environment import FLUSH_SECONDS
from scenewright_stages.contract import layout
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.task import SHARD_ENVIRONMENT
from scenewright_stages.store import hash_bytes, open_store
from scenewright_stages.worker.evidence import parse_records

POD = PodSettings(images={"cpu": "none"})
POD_ENVIRONMENT = {
    "SCENEWRIGHT_GRACE_SECONDS": str(POD.grace_seconds - FLUSH_SECONDS),
    "SCENEWRIGHT_STORAGE_PATIENCE": str(POD.storage_patience_seconds),
}
"""What the operator gives every Pod unless it is told otherwise."""
STAGE = "double"
LOOK_SECONDS = 0.05
SAFE_SECONDS = 5.0
"""A record that was made so long before a fault is stored: the work is not done again."""


@dataclass(frozen=True)
class Orders:
    """How one process is to work, and when it is sent a signal: a while after it began that many samples.

    Attributes:
        behaviour: of the stage; the file of its notes is filled in.
        begins: samples; 0: no signal is sent.
        seconds: of the while.
        number: of the signal.
        environment: further variables.
    """

    behaviour: Behaviour = field(default_factory=lambda: Behaviour(""))
    begins: int = 0
    seconds: float = 0.0
    number: signal.Signals = signal.SIGTERM
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Worker:
    """A process and what it was told.

    Attributes:
        pod, shard, orders: what it is.
        process: the process.
        notes_file: its notes.
        struck: when it was sent its signal, by the wall clock.
        leaving_seconds: from the signal to its end.
        code: its exit code.
        recorded: records of ended samples that were stored when it had ended.
    """

    pod: str
    shard: int
    orders: Orders
    process: Started
    notes_file: Path
    struck: float | None = None
    leaving_seconds: float = 0.0
    code: int | None = None
    recorded: list[Record] = field(default_factory=list)

    def notes(self, what: str) -> list[Note]:
        """Its notes of one kind."""
        return [note for note in read_notes(self.notes_file) if note.what == what]

    def samples(self, what: str) -> set[str]:
        """What it began or ended."""
        return {note.sample for note in self.notes(what)}

    def lost(self) -> set[str]:
        """Samples that it began and that are not recorded as done."""
        return self.samples("begin") - {record.sample for record in self.recorded if record.state == "done"}

    def look(self) -> bool:
        """Strikes when it is time, kills what outlives a Pod's grace period; whether it has ended."""
        now = time.time()
        if self.struck is None and self._is_due(now):
            self.process.signal(self.orders.number)
            self.struck = now
        self.code = self.process.poll()
        if self.struck is not None:
            self.leaving_seconds = now - self.struck
            if self.code is None and self.leaving_seconds > POD.grace_seconds:
                self.process.signal(signal.SIGKILL)
        return self.code is not None

    def _is_due(self, now: float) -> bool:
        begun = self.notes("begin") if self.orders.begins else []
        return bool(begun) and len(begun) >= self.orders.begins and now >= _due(begun, self.orders)


def _due(begun: Sequence[Note], orders: Orders) -> float:
    return begun[orders.begins - 1].at + orders.seconds


class ShardedJob:
    """A job of the noting pipeline, indexed, with its input and its output in a bucket.

    Args:
        folder: for everything that is not in the bucket.
        uri: prefix of the bucket that takes input and output.
        samples: how many.
        shards: into how many its worklist is cut.
        environment: of all its processes.

    Attributes:
        workers: every process of the stage, in the order of their starts.
        output: the store, as the test's own environment reaches it.
    """

    def __init__(
        self, folder: Path, uri: str, samples: int, shards: int, environment: Mapping[str, str] | None = None
    ) -> None:
        self.shards, self.workers = shards, list[Worker]()
        self.output = open_store(f"{uri}/out")
        self._environment = {**POD_ENVIRONMENT, **(environment or {})}
        self._toy = noting_toy(folder, samples, output_uri=f"{uri}/out", input_uri=f"{uri}/in")
        source = open_store(f"{uri}/in")
        for path in sorted(self._toy.input.iterdir()):
            source.put_bytes(path.name, path.read_bytes())
        assert self.step("index") == 0, self.console()[-3000:]

    def step(self, step: str) -> int:
        """Runs the index or publish, as fast as the storage is for the test; its exit code."""
        return self._toy.step(step, shards=self.shards)

    def work(
        self,
        orders: Mapping[int, Iterable[Orders]],
        at_once: int,
        seconds: float,
        tick: Callable[[], None] = lambda: None,
    ) -> list[Worker]:
        """Works on shards with one process after the other each, and returns them when all have ended.

        Args:
            orders: of the processes of each shard.
            at_once: processes that run beside each other.
            seconds: after which it is an error that some still run.
            tick: called all the time meanwhile.
        """
        waiting = {shard: deque(each) for shard, each in orders.items()}
        running: dict[int, Worker] = {}
        first, deadline = len(self.workers), time.monotonic() + seconds
        try:
            while waiting or running:
                assert time.monotonic() < deadline, f"{len(running)} processes still run: {self._toy.console()[-3000:]}"
                tick()
                for shard in [shard for shard in waiting if shard not in running][: at_once - len(running)]:
                    running[shard] = self._start(shard, waiting[shard].popleft())
                    waiting = {shard: left for shard, left in waiting.items() if left}
                for worker in [worker for worker in running.values() if worker.look()]:
                    worker.recorded = list(self._records(f"-{worker.shard}-{worker.pod}-"))
                    del running[worker.shard]
                time.sleep(LOOK_SECONDS)
        finally:
            for worker in running.values():
                worker.process.signal(signal.SIGKILL)
        return self.workers[first:]

    def begun(self) -> Counter[str]:
        """How often each sample was begun."""
        return Counter(note.sample for worker in self.workers for note in worker.notes("begin"))

    def done(self) -> dict[str, list[float]]:
        """When each sample was recorded as done, over all processes."""
        found: dict[str, list[float]] = {}
        for record in sorted(self._records(), key=lambda record: record.at):
            if record.state == "done":
                found.setdefault(record.sample, []).append(record.at)
        return found

    def states(self) -> Counter[str]:
        """How often each state is recorded."""
        return Counter(record.state for record in self._records())

    def half_written(self) -> list[str]:
        """Paths of outputs of recorded samples that are not what their records say."""
        return [
            file.path
            for record in self._records()
            for file in record.outputs.values()
            if hash_bytes(self.output.get_bytes(file.path)) != file.hash
        ]

    def results(self) -> dict[str, bytes]:
        """Every visible object of the output by path, the summary without its times."""
        return {
            found.key: (untimed if found.key == layout.SUMMARY else bytes)(self.output.get_bytes(found.key))
            for found in self.output.list()
            if not found.key.startswith(f"{layout.ROOT}/")
        }

    def console(self) -> str:
        """What the processes printed."""
        return self._toy.console()

    def _start(self, shard: int, orders: Orders) -> Worker:
        pod = f"pod{len(self.workers):03d}"
        folder = self._toy.folder / "pods" / pod
        folder.mkdir(parents=True)
        notes = folder / "notes.jsonl"
        environment = {
            **replace(orders.behaviour, notes=str(notes)).variables(),
            "SCENEWRIGHT_POD": pod,
            SHARD_ENVIRONMENT: str(shard),
            "SCENEWRIGHT_REPORT_DIR": str(folder),
            "SCENEWRIGHT_TERMINATION_LOG": str(folder / "termination"),
            "SCENEWRIGHT_PROGRESS_FILE": "",
            **self._environment,
            **orders.environment,
        }
        process = self._toy.start(STAGE, environment, shards=self.shards)
        self.workers.append(Worker(pod, shard, orders, process, notes))
        return self.workers[-1]

    def _records(self, part: str = "") -> Iterator[Record]:
        for found in self.output.list(f"{layout.ROOT}/{STAGE}/"):
            if part in found.key:
                yield from parse_records(self.output.get_bytes(found.key))


def noting_toy(folder: Path, samples: int, output_uri: str = "", input_uri: str = "") -> Toy:
    """A job of the noting pipeline; without URIs in the folder itself."""
    options = {"select_stages": [STAGE], **({"input": {"uri": input_uri}} if input_uri else {})}
    return Toy(folder, samples, options=options, output_uri=output_uri, pipeline="toy_noting:PIPELINE")


def undisturbed(folder: Path, samples: int, behaviour: Behaviour) -> dict[str, bytes]:
    """Every visible file of a job in a folder that nobody disturbs."""
    toy = noting_toy(folder, samples)
    environment = replace(behaviour, notes=str(folder / "notes.jsonl")).variables()
    codes = [toy.step(step, environment) for step in ("index", STAGE, "publish")]
    assert codes == [0, 0, 0], toy.console()[-3000:]
    return toy.results()
