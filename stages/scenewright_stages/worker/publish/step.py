"""The publish step: manifests and report, then the commit, then the clean-up.

Writing ``published.json`` is the commit, and deleting starts only after it. A publish killed earlier leaves the
previous publication valid; one killed later leaves only files and records that the next publish removes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scenewright_stages.contract import layout
from scenewright_stages.contract.errors import ShardError
from scenewright_stages.contract.layout import DROPPED, MANIFEST, REPORT, SUMMARY
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.results import Results, merged_warnings
from scenewright_stages.contract.task import PUBLISH_STEP
from scenewright_stages.store import ObjectMissing, Store, hash_bytes
from scenewright_stages.worker.evidence import (
    read_evidence,
    read_index,
    read_index_warnings,
    read_run_inputs,
    record_files,
    taking_part,
)
from scenewright_stages.worker.process.session import Session
from scenewright_stages.worker.publications import publication_hash
from scenewright_stages.worker.publish.catalogue import chosen_files, make_catalogue, write_index_files
from scenewright_stages.worker.publish.ends import SampleEnd, results_of, sample_ends
from scenewright_stages.worker.publish.manifests import (
    dropped_table,
    failures,
    manifest_lines,
    result_files,
    summary,
)
from scenewright_stages.worker.publish.pages import PageMaker
from scenewright_stages.worker.publish.pruning import finished_states, kept_records, stale_files
from scenewright_stages.worker.states import Histories, States, judge

WRITERS = 8


@dataclass(frozen=True)
class Found:
    """Input of publish: states and ends of samples, their account, records, files, and the last publication's files."""

    states: States
    ends: Sequence[SampleEnd]
    results: Results
    histories: Histories
    sizes: Mapping[str, int]
    previous: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Publication:
    """Output of publish: files by path as in ``published.json``, files that others may refer to, the final account."""

    files: Mapping[str, Mapping[str, Any]]
    chosen: Mapping[str, str]
    results: Results

    @property
    def hash(self) -> str:
        """Hash of all reproducible files."""
        return publication_hash(self.files)


def run_publish(session: Session, scratch: Path) -> Report:
    """Publishes what is done and reports what is not.

    Raises:
        ConfigurationError: another holder has the output.
        ShardError: there is no index.
    """
    session.progress.begin_step(PUBLISH_STEP, "publishing")
    session.lock.acquire()
    found = _find(session)
    publication = _publish(session, found, scratch)
    _commit(session, publication)
    _clean_up(session, found, publication)
    if not any(stage.counts.missing for stage in publication.results.stages):
        session.lock.release()
    return _report(session, publication)


def _find(session: Session) -> Found:
    chain, output = session.chain, session.output
    try:
        samples = read_index(output)
    except ObjectMissing as problem:
        raise ShardError("there is no index: run the index step first") from problem
    population = chain.population(taking_part(samples))
    inputs = read_run_inputs(output, session.task.run) if session.task.inputs else {}
    evidence = read_evidence(chain, population, output, inputs)
    states = judge(chain, population, evidence, selected=chain.selected)
    ends = sample_ends(chain, samples, population, states)
    results = results_of(chain, population, states, ends, _index_warnings(session))
    return Found(states, ends, results, evidence.histories, evidence.sizes or {}, _previous_files(output))


def _index_warnings(session: Session) -> list[str]:
    """Everything that the index of this run warned of; its report may hold the beginnings only."""
    return read_index_warnings(session.output, session.task.run)


def _publish(session: Session, found: Found, scratch: Path) -> Publication:
    pages = PageMaker(session, found.previous, found.sizes, scratch).make(found.ends, found.results)
    # A page that could not be made is told of wherever warnings are.
    results = replace(found.results, warnings=merged_warnings(found.results.warnings, pages.warnings))
    files = {**result_files(session.chain, found.states), **_write_manifests(session, found, results)}
    catalogue = make_catalogue(session, found.ends, results)
    files |= write_index_files(session, catalogue, files)
    return Publication({**files, **pages.files}, chosen_files(session, catalogue, files), results)


def _previous_files(output: Store) -> dict[str, dict[str, Any]]:
    try:
        files: dict[str, dict[str, Any]] = json.loads(output.get_bytes(layout.PUBLISHED))["files"]
    except ObjectMissing:
        return {}
    return files


def _write_manifests(session: Session, found: Found, results: Results) -> dict[str, dict[str, Any]]:
    chain, ends = session.chain, found.ends
    contents = {
        MANIFEST: manifest_lines(chain, ends),
        DROPPED: dropped_table(results, ends),
        SUMMARY: summary(chain, session.task.name, results, ends, found.states),
    }
    for path, content in contents.items():
        session.output.put_bytes(path, content)
    files: dict[str, dict[str, Any]] = {
        path: {"size": len(content), "hash": hash_bytes(content)} for path, content in contents.items()
    }
    # It tells times.
    files[SUMMARY]["volatile"] = True
    return files


def _commit(session: Session, publication: Publication) -> None:
    task = session.task
    counted: dict[str, int] = dict(publication.results.counted())
    content = {
        "run": task.run,
        "workHash": task.work_hash,
        "hash": publication.hash,
        "chosen": dict(publication.chosen),
        "keys": task.keys,
        "samples": {"total": publication.results.units.total, **counted},
        "files": {path: publication.files[path] for path in sorted(publication.files)},
    }
    session.output.put_bytes(layout.PUBLISHED, json.dumps(content, indent=1, ensure_ascii=False).encode())


def _clean_up(session: Session, found: Found, publication: Publication) -> None:
    chain, output = session.chain, session.output
    stale: list[str] = []
    if session.task.output.prune:
        stale = stale_files(publication.files, found.previous, chain.stages, found.histories, found.sizes)
        output.delete(stale)
    remaining = {path: size for path, size in found.sizes.items() if path not in set(stale)}
    for stage in chain.stages:
        records = found.histories.get(stage.name, {})
        _compact(output, stage.name, kept_records(records, chain.keys[stage.name], session.task.run, remaining))
        if stage.keeps_state:
            ended = {sample for sample, state in found.states[stage.name].items() if state.state == "done"}
            output.delete(finished_states(stage.name, ended, found.sizes))
    output.remove_partial_files()


def _compact(output: Store, stage: str, kept: Mapping[str, Sequence[Any]]) -> None:
    """Merges the record files of a stage into one per key, then deletes the originals."""
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


def _report(session: Session, publication: Publication) -> Report:
    output, task, results = session.output, session.task, publication.results
    places = {"results": "", "manifest": MANIFEST, "summary": SUMMARY, "dropped": DROPPED}
    if REPORT in publication.files:
        places["report"] = REPORT
    return Report(
        step=PUBLISH_STEP,
        run=task.run,
        samples=results.units.total - results.refused_units,
        units=results.units,
        rejected=results.refused,
        stages={stage.name: stage.counts for stage in results.stages},
        failures=failures(results),
        warnings=list(results.warnings),
        outputs={
            **{name: output.uri_of(path) for name, path in places.items()},
            "records": output.uri_of(layout.ROOT),
            "logs": output.uri_of(f"{layout.ROOT}/logs/{task.run}"),
        },
        publication=publication.hash,
        chosen=dict(publication.chosen),
    )
