"""The index files of a data set, by which the ecosystem's loaders open it: made by the pipeline's own function."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scenewright_stages.contract.errors import ShardError
from scenewright_stages.contract.stage import Catalogue, CatalogueEntry
from scenewright_stages.store import hash_bytes
from scenewright_stages.worker.manifests import SampleEnd
from scenewright_stages.worker.session import Session


def write_catalogue(session: Session, ends: Sequence[SampleEnd]) -> dict[str, dict[str, Any]]:
    """Stores the index files of all samples that are done; returns their entries for ``published.json``.

    Raises:
        ShardError: the pipeline's function names a file outside of the top of the output.
    """
    name = session.chain.pipeline.catalogue
    if not name:
        return {}
    entries = [CatalogueEntry(end.sample, end.records()) for end in ends if end.state == "done"]
    output = session.output
    catalogue = Catalogue(session.task.name, entries, session.task.job)
    contents = _function(name)(catalogue)
    for path, content in contents.items():
        if "/" in path or path.startswith("."):
            raise ShardError(f"{name} names {path!r}: an index file lies at the top of the output")
        output.put_bytes(path, content)
    return {path: {"size": len(content), "hash": hash_bytes(content)} for path, content in contents.items()}


def _function(name: str) -> Callable[[Catalogue], Mapping[str, bytes]]:
    module, _, attribute = name.partition(":")
    found: Callable[[Catalogue], Mapping[str, bytes]] = getattr(importlib.import_module(module), attribute)
    return found
