"""The publish step: manifests and report, then the commit, then the cleaning up.

``published.json`` is written last and is the commit. A publish that was killed before it left the previous one valid;
one that was killed after it left only files and records that the next one removes. Deleting starts after the commit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenewright_stages.contract import layout
from scenewright_stages.contract.errors import ShardError
from scenewright_stages.contract.expansion import leaves
from scenewright_stages.contract.reports import MAXIMUM_FAILURES, Failure, Report
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.task import PUBLISH_STEP
from scenewright_stages.store import ObjectMissing, Store, hash_bytes
from scenewright_stages.worker.catalogues import write_catalogue
from scenewright_stages.worker.chain import Chain
from scenewright_stages.worker.histories import History, read_histories, record_files
from scenewright_stages.worker.indexing import read_index, stored_sizes
from scenewright_stages.worker.manifests import (
    SampleEnd,
    dropped_table,
    manifest_lines,
    result_files,
    sample_end,
    stage_counts,
    summary,
    warnings_of,
)
from scenewright_stages.worker.pages import REPORT, PageMaker
from scenewright_stages.worker.pruning import kept_records, stale_files
from scenewright_stages.worker.session import Session

MANIFEST = "manifest.jsonl"
DROPPED = "dropped.csv"
SUMMARY = "summary.json"
WRITERS = 8


@dataclass(frozen=True)
class Before:
    """What publish found: how samples ended, the records, the files, and the last publish's files by path."""

    ends: Sequence[SampleEnd]
    histories: History
    sizes: dict[str, int]
    previous: Mapping[str, Mapping[str, Any]]


def run_publish(session: Session, scratch: Path) -> Report:
    """Publishes what is done and says what is not.

    Raises:
        ConfigurationError: another holder has the output.
        ShardError: there is no index.
    """
    session.progress.begin_step(PUBLISH_STEP, "publishing")
    session.lock.acquire()
    before = _observe(session)
    pages = PageMaker(session, before.previous, before.sizes, scratch).make(before.ends)
    files = {
        **result_files(session.chain, before.ends),
        **_write_manifests(session, before.ends),
        **write_catalogue(session, before.ends),
        **pages.files,
    }
    _commit(session, before, files)
    _clean_up(session, before, files)
    missing = any(end.state == "missing" for end in before.ends)
    if not missing:
        session.lock.release()
    return _report(session, before.ends, pages.warnings, REPORT in files)


def _observe(session: Session) -> Before:
    chain, output = session.chain, session.output
    try:
        samples = read_index(output)
    except ObjectMissing as problem:
        raise ShardError("there is no index: run the index step first") from problem
    histories = read_histories(output, [stage.name for stage in chain.stages])
    sizes = stored_sizes(output)
    units = (leaf for sample in samples for leaf in _leaves(sample, chain))
    ends = [sample_end(chain, unit, histories, sizes) for unit in units]
    return Before(ends, histories, sizes, _previous_files(output))


def _leaves(sample: Sample, chain: Chain) -> tuple[Sample, ...]:
    return leaves(sample, chain.stages) if sample.rejected is None else (sample,)


def _previous_files(output: Store) -> dict[str, dict[str, Any]]:
    try:
        files: dict[str, dict[str, Any]] = json.loads(output.get_bytes(layout.PUBLISHED))["files"]
    except ObjectMissing:
        return {}
    return files


def _write_manifests(session: Session, ends: Sequence[SampleEnd]) -> dict[str, dict[str, Any]]:
    contents = {
        MANIFEST: manifest_lines(session.chain, ends),
        DROPPED: dropped_table(ends),
        SUMMARY: summary(session.chain, session.task.name, ends),
    }
    for path, content in contents.items():
        session.output.put_bytes(path, content)
    return {path: {"size": len(content), "hash": hash_bytes(content)} for path, content in contents.items()}


def _commit(session: Session, before: Before, files: Mapping[str, Mapping[str, Any]]) -> None:
    task = session.task
    states = [end.state for end in before.ends]
    content = {
        "run": task.run,
        "workHash": task.work_hash,
        "keys": task.keys,
        "samples": {state: states.count(state) for state in sorted(set(states))},
        "files": {path: files[path] for path in sorted(files)},
    }
    session.output.put_bytes(layout.PUBLISHED, json.dumps(content, indent=1, ensure_ascii=False).encode())


def _clean_up(session: Session, before: Before, files: Mapping[str, Any]) -> None:
    chain, output = session.chain, session.output
    stale: list[str] = []
    if session.task.output.prune:
        stale = stale_files(files, before.previous, chain.stages, before.histories, before.sizes)
        output.delete(stale)
    remaining = {path: size for path, size in before.sizes.items() if path not in set(stale)}
    for stage in chain.stages:
        records = before.histories.get(stage.name, {})
        _compact(output, stage.name, kept_records(records, chain.keys[stage.name], session.task.run, remaining))
    output.remove_litter()


def _compact(output: Store, stage: str, kept: Mapping[str, Sequence[Any]]) -> None:
    """Merges the record files of a stage into one for each key, then deletes what it read."""
    old = set(record_files(output, stage))
    contents = {
        layout.compacted_records(stage, key): "".join(f"{record.to_line()}\n" for record in records).encode()
        for key, records in kept.items()
    }
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda path: _put_changed(output, path, contents[path], path in old), contents))
    output.delete(sorted(old - contents.keys()))


def _put_changed(output: Store, path: str, content: bytes, exists: bool) -> None:
    if not exists or output.get_bytes(path) != content:
        output.put_bytes(path, content)


def _report(session: Session, ends: Sequence[SampleEnd], page_warnings: Sequence[str], has_page: bool) -> Report:
    output, task = session.output, session.task
    dropped = [end for end in ends if end.state != "done" and not end.left_out]
    first = sorted(dropped, key=lambda end: end.state == "skipped")[:MAXIMUM_FAILURES]
    places = {"results": "", "manifest": MANIFEST, "summary": SUMMARY, "dropped": DROPPED}
    if has_page:
        places["report"] = REPORT
    return Report(
        step=PUBLISH_STEP,
        run=task.run,
        samples=sum(bool(end.standings) and not end.left_out for end in ends),
        rejected=sum(end.state == "rejected" and not end.left_out for end in ends),
        stages={stage.name: stage_counts(session.chain, stage, ends) for stage in session.chain.stages},
        failures=[
            Failure(sample=end.sample.id, stage=end.stage, reason=end.reason, message=end.message) for end in first
        ],
        warnings=[*warnings_of(ends), *page_warnings],
        outputs={
            **{name: output.uri_of(path) for name, path in places.items()},
            "records": output.uri_of(layout.ROOT),
            "logs": output.uri_of(f"{layout.ROOT}/logs/{task.run}"),
        },
    )
