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

from scenewright_stages.contract.pipeline import INPUT, StageSpec
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Local, Member
from scenewright_stages.store import (
    Store,
)
from scenewright_stages.worker.files import fetch_output, fetch_source
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
