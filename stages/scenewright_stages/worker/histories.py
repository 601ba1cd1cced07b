"""Reads the records of stages, of all keys and attempts, from an output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from scenewright_stages.contract.layout import ROOT
from scenewright_stages.contract.records import Record
from scenewright_stages.store import ObjectMissing, Store
from scenewright_stages.worker.recording import MARKS_SUFFIX

READERS = 8
READ_ATTEMPTS = 4

History = dict[str, dict[str, list[Record]]]
"""Records by stage and sample."""


def read_histories(store: Store, stages: Iterable[str], keep: Callable[[str], bool] = lambda sample: True) -> History:
    """All records of the stages, whatever their key.

    Args:
        store: the output.
        stages: names of the stages.
        keep: whether records of a sample id are wanted.
    """
    return {stage: _read_stage(store, stage, keep) for stage in stages}


def record_files(store: Store, stage: str) -> list[str]:
    """Keys of all record files of a stage."""
    return [found.key for found in store.list(f"{ROOT}/{stage}/") if found.key.endswith(".jsonl")]


def _read_stage(store: Store, stage: str, keep: Callable[[str], bool]) -> dict[str, list[Record]]:
    for _ in range(READ_ATTEMPTS):
        names = record_files(store, stage)
        try:
            return _merged(store, names, keep)
        except ObjectMissing:
            # Compaction replaced files between the listing and the reading: look again.
            continue
    return _merged(store, record_files(store, stage), keep)


def _merged(store: Store, names: list[str], keep: Callable[[str], bool]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    marks = [name for name in names if name.endswith(MARKS_SUFFIX)]
    ends = [name for name in names if not name.endswith(MARKS_SUFFIX)]
    with ThreadPoolExecutor(READERS) as pool:
        # Marks go when what they announce is stored: whoever finds them gone finds it in what is read after them.
        started = list(pool.map(lambda name: _read_marks(store, name), marks))
        for content in (*started, *pool.map(store.get_bytes, ends)):
            for record in parse_records(content):
                if keep(record.sample):
                    found.setdefault(record.sample, []).append(record)
    return found


def _read_marks(store: Store, name: str) -> bytes:
    """Nothing when they are gone: other shards end all the time, faster than a slow storage is read."""
    try:
        return store.get_bytes(name)
    except ObjectMissing:
        return b""


def parse_records(content: bytes) -> list[Record]:
    """The records of one file.

    Raises:
        ValueError: a line is no record. Files are written whole, so that this is damage and not a race.
    """
    try:
        return [Record.from_line(line) for line in content.decode().split("\n") if line]
    except (json.JSONDecodeError, TypeError) as problem:
        raise ValueError(f"damaged record file: {problem}") from problem
