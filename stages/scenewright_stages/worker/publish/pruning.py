"""Decides which stored files and records are no longer needed. Pure functions.

Only files known to be ours are deleted: those that nothing current needs, and that the previous publish listed, a
record names, or a stage declares for a sample it has started.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from scenewright_stages.contract import layout
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.records import Record
from scenewright_stages.worker.states import Histories


def stale_files(
    current: Iterable[str],
    previous: Iterable[str],
    stages: Sequence[StageSpec],
    histories: Histories,
    sizes: Mapping[str, int],
) -> list[str]:
    """Sorted paths of existing files that a job wrote and that nothing current needs.

    Args:
        current: paths of this publish.
        previous: paths of the publish before.
        stages: the chain.
        histories: all records of its stages.
        sizes: size by path of everything in the output.
    """
    named = set(previous)
    for stage in stages:
        for sample, records in histories.get(stage.name, {}).items():
            named.update(
                file.path
                for record in records
                for stored in record.outputs.values()
                for file in stored.files().values()
            )
            for record in records:
                if record.state in ("started", "done"):
                    named.update(_declared(stage, sample, record))
    return sorted((named & sizes.keys()) - set(current))


def _declared(stage: StageSpec, sample: str, record: Record) -> Iterator[str]:
    """Paths of the single-file outputs that the stage declares for a sample; records name the files of the others."""
    for output in stage.outputs:
        if output.form == "file" and all(name in record.attributes for name in output.attributes()):
            yield output.resolved(sample, record.attributes)


def finished_states(stage: str, done: Collection[str], sizes: Mapping[str, int]) -> list[str]:
    """Paths of durable states of samples that are done."""
    states = (re.fullmatch(rf"{layout.STATE}/{stage}/(.+?)/{layout.STATE_FILE}", path) for path in sizes)
    return [found.string for found in states if found is not None and found[1] in done]


def kept_records(
    records: Mapping[str, Sequence[Record]], key: str, run: str, files: Mapping[str, int]
) -> dict[str, list[Record]]:
    """The records of one stage that compaction keeps, by key.

    It keeps the latest end of every sample under the current key, with all repetitions of the same work; a ``done``
    under another key if it is the sample's latest end and its files exist; and later starts, because they show crashes
    and files that may have been overwritten.

    Args:
        records: of the stage, by sample, of all keys.
        key: the current one.
        run: the current run.
        files: size by path of what remains in the output.
    """
    kept: dict[str, list[Record]] = {}
    for sample in sorted(records):
        for record in _kept_of_sample(records[sample], key, run, files):
            kept.setdefault(record.key, []).append(record)
    return kept


def _kept_of_sample(history: Sequence[Record], key: str, run: str, files: Mapping[str, int]) -> list[Record]:
    ordered = sorted(distinct(history), key=lambda record: record.at)
    ended = [record for record in ordered if record.state in ("done", "failed", "rejected")]
    kept = _kept_ends(ended, key, files)
    last = kept[-1].at if kept else 0.0
    started = [record for record in ordered if record.state == "started" and record.at > last]
    return kept + [record for record in started if kept or record.run == run]


def _kept_ends(ended: Sequence[Record], key: str, files: Mapping[str, int]) -> list[Record]:
    current = [record for record in ended if record.key == key]
    kept = [record for record in current if _same_work(record, current[-1])]
    if ended and ended[-1].key != key and ended[-1].state == "done" and _stored(ended[-1], files):
        kept.append(ended[-1])
    return kept


def distinct(history: Sequence[Record]) -> list[Record]:
    """The records without the duplicates that a killed compaction leaves."""
    return list({record.to_line(): record for record in history}.values())


def _same_work(one: Record, other: Record) -> bool:
    return (one.state, one.fingerprint, one.upstream) == (other.state, other.fingerprint, other.upstream)


def _stored(record: Record, files: Mapping[str, int]) -> bool:
    stored = (file for output in record.outputs.values() for file in output.files().values())
    return all(files.get(file.path) == file.size for file in stored)
