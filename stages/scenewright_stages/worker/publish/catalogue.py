"""Pipeline-specific parts of a publication: data set index files, and files that other objects may refer to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pkgutil import resolve_name
from typing import Any

from scenewright_stages.contract.errors import ShardError
from scenewright_stages.contract.stage import Catalogue, CatalogueEntry, Dated, Dropped, IndexContent
from scenewright_stages.store import hash_bytes
from scenewright_stages.worker.process.session import Session
from scenewright_stages.worker.publish.manifests import SampleEnd, dropped


def make_catalogue(session: Session, ends: Sequence[SampleEnd]) -> Catalogue:
    """The publication as the pipeline's own functions see it."""
    return Catalogue(
        session.task.name,
        [CatalogueEntry(end.sample, end.records()) for end in ends if end.state == "done"],
        session.task.job,
        [Dropped(*each) for each in dropped(ends)],
        session.output.get_bytes,
        time.time(),
        sum(record.seconds for end in ends for record in end.all_records()),
    )


def write_index_files(
    session: Session, catalogue: Catalogue, results: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Stores the pipeline's index files; returns their entries for ``published.json``.

    Raises:
        ShardError: the pipeline's function names a path that it may not write.
    """
    pipeline = session.chain.pipeline
    if not pipeline.catalogue:
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
    paths: Mapping[str, str] = resolve_name(name)(catalogue) if name else {}
    for path in paths.values():
        if path not in files:
            raise ShardError(f"{name} names {path!r}, which is not published")
    return {each: f"{path}@{files[path]['hash']}" for each, path in paths.items()}
