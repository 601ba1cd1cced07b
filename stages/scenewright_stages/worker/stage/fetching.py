"""Fetches the inputs of the next samples ahead, so that no stage waits for a download.

Every fetched file is verified against the index or a record, by hash or ETag.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.pipeline import INPUT, StageSpec
from scenewright_stages.contract.records import OutputFile
from scenewright_stages.contract.samples import Sample, SourceFile
from scenewright_stages.contract.stage import Local, Member
from scenewright_stages.store import (
    ObjectMissing,
    PreconditionFailed,
    Store,
    hash_file,
    linked_folder,
    open_store,
    split_uri,
)
from scenewright_stages.worker.index.inputs import folder_source
from scenewright_stages.worker.worklists import Outputs, WorkItem

AHEAD_SAMPLES = 3
AHEAD_BYTES = 2 << 30
FETCHERS = 3


class Fetcher:
    """Fetches inputs in order, a few samples ahead, with bounded disk space.

    Args:
        stage: whose inputs to fetch.
        output: store with the upstream outputs.
        folder: for the copies; files of a ``file://`` store are not copied.
        ahead: how many samples to prefetch.
    """

    def __init__(self, stage: StageSpec, output: Store, folder: Path, ahead: int = AHEAD_SAMPLES) -> None:
        self._stage, self._output, self._folder, self._ahead = stage, output, folder, ahead
        self._pool = ThreadPoolExecutor(max(FETCHERS, ahead), thread_name_prefix="fetch")
        self._numbers = itertools.count()

    def in_order(self, items: Sequence[WorkItem]) -> Iterator[WorkItem]:
        """Every item with its inputs; fetches the next items while the caller works on one."""
        waiting: deque[tuple[int, Future[WorkItem]]] = deque()
        position, ahead = 0, 0
        while waiting or position < len(items):
            while position < len(items) and (not waiting or (len(waiting) < self._ahead and ahead < AHEAD_BYTES)):
                size = items[position].size()
                waiting.append((size, self._pool.submit(self._fetch, items[position], next(self._numbers))))
                ahead += size
                position += 1
            size, future = waiting.popleft()
            ahead -= size
            yield future.result()

    def close(self) -> None:
        """Stops fetching."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _fetch(self, item: WorkItem, number: int) -> WorkItem:
        item = replace(item, folder=self._folder / f"{number}-inputs")
        try:
            return replace(item, files=self._files(item), members=self._members(item))
        except BaseException as fault:
            return replace(item, fault=fault)

    def _files(self, item: WorkItem) -> dict[tuple[str, str], Local]:
        files: dict[tuple[str, str], Local] = {}
        for stage, outputs in item.upstream.items():
            for name, local in self._outputs(outputs, item.folder / stage).items():
                files[(stage, name)] = local
        for role in input_roles(self._stage, item.sample):
            files[(INPUT, role)] = fetch_source(item.sample.files[role], item.folder / role)
        return files

    def _members(self, item: WorkItem) -> dict[str, list[Member]]:
        return {
            stage: [
                Member(
                    sample.with_only(self._stage.attributes),
                    self._outputs(outputs, item.folder / stage / str(number)),
                )
                for number, (sample, outputs) in enumerate(members)
            ]
            for stage, members in item.families.items()
        }

    def _outputs(self, outputs: Outputs, folder: Path) -> dict[str, Local]:
        return {name: fetch_output(self._output, stored, folder) for name, stored in outputs.items()}


def input_roles(stage: StageSpec, sample: Sample) -> list[str]:
    """Roles of the sample's own files that the stage reads."""
    reads = [read.outputs for read in stage.reads if read.stage == INPUT]
    return [role for role in sample.files if any(not outputs or role in outputs for outputs in reads)]


def fetch_source(source: SourceFile, folder: Path) -> Path:
    """Local path of an input object or folder, verified to be the indexed one.

    Raises:
        SampleError: it is missing or has changed (reasons ``InputMissing``, ``InputChanged``).
    """
    parent, name = split_uri(source.uri)
    store = open_store(parent)
    changed = SampleError("InputChanged", f"{source.uri} changed after it was indexed; run again")
    try:
        if source.is_folder:
            if folder_source(store, f"{name}/").fingerprint != source.fingerprint:
                raise changed
            return _fetch_folder(store, f"{name}/", folder)
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


def fetch_output(output: Store, stored: OutputFile, folder: Path) -> Local:
    """Local path of a stored output, verified by its hash; one path per numbered file, one for a whole folder.

    Raises:
        SampleError: it is missing or has changed (reason ``UpstreamChanged``).
    """
    if "://" in stored.path:
        return fetch_source(SourceFile(stored.path, stored.size, stored.hash), folder)
    target = folder / stored.path.rstrip("/").replace("/", "__")[-200:]
    if not (stored.is_folder or stored.is_numbered):
        return _fetch_file(output, stored, target)
    paths = {name: _fetch_file(output, file, target / name) for name, file in stored.files().items()}
    return linked_folder(paths, target) if stored.is_folder else tuple(paths.values())


def _fetch_file(output: Store, stored: OutputFile, target: Path) -> Path:
    try:
        path = output.local_path(stored.path)
        if path is None:
            target.parent.mkdir(parents=True, exist_ok=True)
            output.get_file(stored.path, target)
            path = target
        found = hash_file(path)
    except (ObjectMissing, FileNotFoundError) as problem:
        raise SampleError("UpstreamChanged", f"{stored.path} is gone; run again") from problem
    if found != stored.hash:
        raise SampleError("UpstreamChanged", f"{stored.path} is not what its record says; run again")
    return path


def _fetch_folder(store: Store, prefix: str, folder: Path) -> Path:
    local = store.local_path(prefix.rstrip("/"))
    if local is not None:
        return local
    for each in store.list(prefix):
        target = folder / each.key.removeprefix(prefix)
        target.parent.mkdir(parents=True, exist_ok=True)
        store.get_file(each.key, target, if_match=each.etag)
    return folder
