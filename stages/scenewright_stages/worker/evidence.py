"""Reads from an output what determines the states of samples: index, records, answers and stored files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from scenewright_stages.contract import layout
from scenewright_stages.contract.errors import ScenewrightError
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.samples import Sample
from scenewright_stages.store import ObjectMissing, Store, hash_bytes
from scenewright_stages.worker.chain import Chain, Population
from scenewright_stages.worker.states import Evidence, answer_path

READERS = 8
READ_ATTEMPTS = 4
MARKS_SUFFIX = ".started.jsonl"
"""Ends the names of files with the samples that a process has started."""

History = dict[str, dict[str, list[Record]]]
"""Records by stage and sample."""


def read_index(store: Store) -> list[Sample]:
    """The samples of the last index; ObjectMissing if there is none."""
    return [Sample.from_json(json.loads(line)) for line in store.get_bytes(layout.INDEX).decode().split("\n") if line]


def check_answer(answer: Any, options: Mapping[str, Any]) -> dict[str, str]:
    """Returns the answer if it has one allowed option for each question.

    Raises:
        ScenewrightError: it does not; the message says what is allowed.
    """
    if not isinstance(answer, Mapping):
        raise ScenewrightError('an answer is a JSON object such as {"question": "option"}')
    for name in answer:
        if name not in options:
            raise ScenewrightError(f"{name!r} is not asked; asked are: {', '.join(options)}")
    for name, allowed in options.items():
        if str(answer.get(name)) not in allowed:
            raise ScenewrightError(f"{name} is {answer.get(name)!r}; allowed: {', '.join(allowed)}")
    return {name: str(answer[name]) for name in options}


def taking_part(samples: Iterable[Sample]) -> list[Sample]:
    """The samples that the index did not reject."""
    return [sample for sample in samples if sample.rejected is None]


def notes_of(samples: Iterable[Sample]) -> list[str]:
    """The notes on the input of indexed samples, each with its sample."""
    return [f"{sample.id}: {note}" for sample in samples for note in sample.notes]


def read_index_warnings(store: Store, run: str) -> list[str]:
    """What the index step of a run warned of, in full."""
    try:
        found: list[str] = json.loads(store.get_bytes(layout.index_warnings(run)))
    except ObjectMissing:
        return []
    return found


def read_run_inputs(store: Store, run: str) -> dict[str, str]:
    """Hashes of the named inputs as the index step of a run found them."""
    try:
        found: dict[str, str] = json.loads(store.get_bytes(layout.run_inputs(run)))
    except ObjectMissing:
        return {}
    return found


def stored_sizes(store: Store, hosts: Sequence[str] = ()) -> dict[str, int]:
    """Size by key of everything in the output, except in folders where other objects publish."""
    return {entry.key: entry.size for entry in store.list() if not entry.key.startswith(tuple(hosts) or ("\0",))}


def read_evidence(chain: Chain, population: Population, store: Store, inputs: Mapping[str, str]) -> Evidence:
    """Everything that determines the states of a population.

    Args:
        chain: the pipeline and its keys.
        population: the samples.
        store: the output.
        inputs: hashes of the named inputs.
    """
    histories = read_histories(store, [stage.name for stage in chain.stages])
    sizes = stored_sizes(store, chain.pipeline.hosts)
    return Evidence(histories, sizes, inputs, read_answers(chain, population, store, sizes))


def read_answers(chain: Chain, population: Population, store: Store, sizes: Mapping[str, int]) -> dict[str, str]:
    """Hashes of the answers given so far, by path."""
    paths = {
        answer_path(stage, sample)
        for stage in chain.stages
        if stage.asks is not None
        for sample in population[chain.levels[stage.name]]
    }
    return {path: hash_bytes(store.get_bytes(path)) for path in sorted(paths) if path in sizes}


def read_histories(store: Store, stages: Iterable[str], keep: Callable[[str], bool] = lambda sample: True) -> History:
    """All records of the stages, under every key.

    Args:
        store: the output.
        stages: names of the stages.
        keep: whether to keep the records of a sample id.
    """
    return {stage: _read_stage(store, stage, keep) for stage in stages}


def record_files(store: Store, stage: str) -> list[str]:
    """Keys of all record files of a stage."""
    return [found.key for found in store.list(f"{layout.ROOT}/{stage}/") if found.key.endswith(".jsonl")]


def _read_stage(store: Store, stage: str, keep: Callable[[str], bool]) -> dict[str, list[Record]]:
    for _ in range(READ_ATTEMPTS):
        names = record_files(store, stage)
        try:
            return _merged(store, names, keep)
        except ObjectMissing:
            # Compaction replaced files between listing and reading: list again.
            continue
    return _merged(store, record_files(store, stage), keep)


def _merged(store: Store, names: list[str], keep: Callable[[str], bool]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    marks = [name for name in names if name.endswith(MARKS_SUFFIX)]
    ends = [name for name in names if not name.endswith(MARKS_SUFFIX)]
    with ThreadPoolExecutor(READERS) as pool:
        # Read marks first: a mark is deleted once its record is stored, so a missing mark has its record.
        started = list(pool.map(lambda name: _read_marks(store, name), marks))
        for content in (*started, *pool.map(store.get_bytes, ends)):
            for record in parse_records(content):
                if keep(record.sample):
                    found.setdefault(record.sample, []).append(record)
    return found


def _read_marks(store: Store, name: str) -> bytes:
    """Content of a marks file; empty if its shard has ended since the listing and deleted it."""
    try:
        return store.get_bytes(name)
    except ObjectMissing:
        return b""


def parse_records(content: bytes) -> list[Record]:
    """The records of one file.

    Raises:
        ValueError: a line is not a record. Files are written atomically, so this is damage, not a race.
    """
    try:
        return [Record.from_line(line) for line in content.decode().split("\n") if line]
    except (json.JSONDecodeError, TypeError) as problem:
        raise ValueError(f"damaged record file: {problem}") from problem
