"""Fetches the inputs of the samples that come next, so that no stage waits for a download."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.pipeline import INPUT, StageSpec
from scenewright_stages.contract.records import OutputFile
from scenewright_stages.contract.samples import Sample, SourceFile
from scenewright_stages.store import (
    ObjectMissing,
    PreconditionFailed,
    Store,
    hash_file,
    open_store,
    split_uri,
)
from scenewright_stages.worker.worklists import Todo

AHEAD_SAMPLES = 3
AHEAD_BYTES = 2 << 30
FETCHERS = 3


@dataclass(frozen=True)
class Assignment:
    """A sample that is to run now: its line of the worklist and the upstream outputs that it reads.

    A suspected one ran when an earlier process died: it runs alone, so that no other is blamed for it.
    """

    todo: Todo
    upstream: Mapping[str, Mapping[str, OutputFile]] = field(default_factory=dict)
    suspected: bool = False

    @property
    def sample(self) -> Sample:
        """The sample."""
        return self.todo.sample

    def upstream_hashes(self) -> dict[str, dict[str, str]]:
        """What is read, as a record stores it."""
        return {stage: {name: file.hash for name, file in files.items()} for stage, files in self.upstream.items()}

    def size(self) -> int:
        """Bytes of everything that it reads."""
        sources = sum(file.size for file in (self.sample.source, *self.sample.sidecars.values()) if file is not None)
        return sources + sum(file.size for files in self.upstream.values() for file in files.values())


@dataclass(frozen=True)
class Fetched:
    """The local inputs of a sample, or why there are none; copies lie in `folder`."""

    assignment: Assignment
    folder: Path
    files: Mapping[tuple[str, str], Path]
    fault: BaseException | None = None


class Fetcher:
    """Fetches inputs in order, a few samples ahead, with bounded disk space.

    Args:
        stage: whose inputs.
        output: where upstream outputs are.
        folder: takes the copies; files of a ``file://`` store are not copied.
        ahead: how many samples are fetched before they are asked for.
    """

    def __init__(self, stage: StageSpec, output: Store, folder: Path, ahead: int = AHEAD_SAMPLES) -> None:
        self._stage, self._output, self._folder, self._ahead = stage, output, folder, ahead
        self._pool = ThreadPoolExecutor(max(FETCHERS, ahead), thread_name_prefix="fetch")
        self._numbers = itertools.count()

    def in_order(self, assignments: Sequence[Assignment]) -> Iterator[Fetched]:
        """Every assignment with its inputs; the next ones are fetched while the caller works on one."""
        waiting: deque[tuple[int, Future[Fetched]]] = deque()
        position, ahead = 0, 0
        while waiting or position < len(assignments):
            while position < len(assignments) and (not waiting or (len(waiting) < self._ahead and ahead < AHEAD_BYTES)):
                assignment = assignments[position]
                size = assignment.size()
                waiting.append((size, self._pool.submit(self._fetch, assignment, next(self._numbers))))
                ahead += size
                position += 1
            size, future = waiting.popleft()
            ahead -= size
            yield future.result()

    def close(self) -> None:
        """Stops fetching."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _fetch(self, assignment: Assignment, number: int) -> Fetched:
        folder = self._folder / f"{number}-inputs"
        try:
            return Fetched(assignment, folder, self._files(assignment, folder))
        except BaseException as fault:
            return Fetched(assignment, folder, {}, fault)

    def _files(self, assignment: Assignment, folder: Path) -> dict[tuple[str, str], Path]:
        files: dict[tuple[str, str], Path] = {}
        for stage, outputs in assignment.upstream.items():
            for name, stored in outputs.items():
                files[(stage, name)] = fetch_output(self._output, stored, folder / stage)
        if any(read.stage == INPUT for read in self._stage.reads):
            sample = assignment.sample
            if sample.source is not None:
                files[(INPUT, "source")] = fetch_source(sample.source, folder / "source")
            for role, source in sample.sidecars.items():
                files[(INPUT, role)] = fetch_source(source, folder / role)
        return files


def fetch_source(source: SourceFile, folder: Path) -> Path:
    """Local path of an input object, proven to be the one that was indexed.

    Raises:
        SampleError: it is gone or changed (reasons ``InputMissing``, ``InputChanged``).
    """
    parent, name = split_uri(source.uri)
    store = open_store(parent)
    changed = SampleError("InputChanged", f"{source.uri} changed after it was indexed; run again")
    try:
        local = store.local_path(name)
        if local is not None:
            if hash_file(local) != source.fingerprint:
                raise changed
            return local
        folder.mkdir(parents=True, exist_ok=True)
        store.get_file(name, folder / name, if_match=source.fingerprint)
    except PreconditionFailed as problem:
        raise changed from problem
    except (ObjectMissing, FileNotFoundError) as problem:
        raise SampleError("InputMissing", f"{source.uri} is gone since it was indexed") from problem
    return folder / name


def fetch_output(output: Store, stored: OutputFile, folder: Path) -> Path:
    """Local path of a stored output, proven by its hash to be the recorded one.

    Raises:
        SampleError: it is gone or another one (reason ``UpstreamChanged``).
    """
    try:
        path = output.local_path(stored.path)
        if path is None:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / stored.path.replace("/", "__")[-200:]
            output.get_file(stored.path, path)
        found = hash_file(path)
    except (ObjectMissing, FileNotFoundError) as problem:
        raise SampleError("UpstreamChanged", f"{stored.path} is gone; run again") from problem
    if found != stored.hash:
        raise SampleError("UpstreamChanged", f"{stored.path} is not what its record says; run again")
    return path
