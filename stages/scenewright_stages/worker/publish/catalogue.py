"""Pipeline-specific parts of a publication: data set index files, and files that other objects may refer to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pkgutil import resolve_name
from typing import Any

from scenewright_stages.contract.errors import ShardError
from scenewright_stages.contract.results import Results
from scenewright_stages.contract.samples import WHOLE_LEVEL
from scenewright_stages.contract.stage import Catalogue, CatalogueEntry, Dated, Dropped, IndexContent
from scenewright_stages.store import hash_bytes
from scenewright_stages.worker.chain import Chain
from scenewright_stages.worker.process.session import Session
from scenewright_stages.worker.publish.ends import SampleEnd
from scenewright_stages.worker.publish.manifests import dropped


def make_catalogue(session: Session, ends: Sequence[SampleEnd], results: Results) -> Catalogue:
    """The publication of this process, as the pipeline's own functions see it."""
    task = session.task
    found = catalogue_of(session.chain, task.name, task.job, ends, results, session.output.get_bytes)
    return replace(found, at=time.time())


def catalogue_of(
    chain: Chain,
    name: str,
    job: Mapping[str, Any],
    ends: Sequence[SampleEnd],
    results: Results,
    read: Callable[[str], bytes],
) -> Catalogue:
    """The publication as the pipeline's own functions see it; `read` returns a file's content by path."""
    done = [end for end in ends if end.state == "done"]
    if not chain.pipeline.partial_catalogue:
        done = [end for end in done if is_complete(chain, end)]
    return Catalogue(
        name,
        [CatalogueEntry(end.sample, end.done_records()) for end in done],
        job,
        list(_dropped(results, ends)),
        read,
        seconds=results.time.wall_seconds,
        to_the_end=_to_the_end(chain),
    )


def is_complete(chain: Chain, end: SampleEnd) -> bool:
    """Whether every stage of the chain that concerns the unit is done, selected or not."""
    return len(end.states) == _concerning(chain) and all(state.state == "done" for state in end.states.values())


def _concerning(chain: Chain) -> int:
    """How many stages concern a unit of the whole chain: those at its level and above."""
    level = chain.unit_level()
    return sum(WHOLE_LEVEL < each <= level for each in chain.levels.values())


def _to_the_end(chain: Chain) -> bool:
    read = {name for stage in chain.stages for name in stage.upstream()}
    return {stage.name for stage in chain.stages if stage.name not in read} <= chain.selected


def is_called(chain: Chain, catalogue: Catalogue) -> bool:
    """Whether the pipeline's functions apply: something is complete, or the run was to complete it."""
    return bool(catalogue.entries) or catalogue.to_the_end or chain.pipeline.partial_catalogue


def _dropped(results: Results, ends: Sequence[SampleEnd]) -> Iterator[Dropped]:
    units = {end.sample.id: end.sample for end in ends}
    samples = {each.id: each for end in ends for each in (*end.sample.lineage(), *(one for _, one, _ in end.below))}
    ended = {end.sample.id: end.state for end in ends}
    for position, row in enumerate(dropped(results, ends)):
        sample, stage, reason, message = row
        follows = position >= len(results.causes)
        end = ended.get(sample, "failed") if follows else results.causes[position].end
        if sample in samples:
            yield Dropped(samples[sample], stage, reason, message, end, sample in units, follows)


def write_index_files(
    session: Session, catalogue: Catalogue, results: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Stores the pipeline's index files; returns their entries for ``published.json``.

    Raises:
        ShardError: the pipeline's function names a path that it may not write.
    """
    pipeline = session.chain.pipeline
    if not pipeline.catalogue or not is_called(session.chain, catalogue):
        return {}
    contents: Mapping[str, IndexContent] = resolve_name(pipeline.catalogue)(catalogue)
    files: dict[str, dict[str, Any]] = {}
    for path, content in contents.items():
        parts = path.split("/")
        if path in results or path.startswith(pipeline.hosts or ("\0",)) or any(part.startswith(".") for part in parts):
            raise ShardError(f"{pipeline.catalogue} names {path!r}, which is not a path for an index file")
        data = _bytes(content)
        session.output.put_bytes(path, data)
        files[path] = {"size": len(data), "hash": hash_bytes(data)}
        if isinstance(content, Dated):
            files[path]["volatile"] = True
    return files


def _bytes(content: IndexContent) -> bytes:
    if isinstance(content, Dated):
        return content.content
    return content() if callable(content) else content


def chosen_files(session: Session, catalogue: Catalogue, files: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """``path@hash``, by name, of the files that other objects may refer to.

    Raises:
        ShardError: the pipeline's function names an unpublished file.
    """
    name = session.chain.pipeline.chosen
    called = bool(name) and is_called(session.chain, catalogue)
    paths: Mapping[str, str] = resolve_name(name)(catalogue) if called else {}
    for path in paths.values():
        if path not in files:
            raise ShardError(f"{name} names {path!r}, which is not published")
    return {each: f"{path}@{files[path]['hash']}" for each, path in paths.items()}
