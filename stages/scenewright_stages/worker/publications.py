"""Named inputs: resolves what they contain, hashes it, and fetches local copies.

A named input is a publication (a prefix with ``published.json``), any other prefix, or a single file. Its hash is part
of the fingerprint of every sample that reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from scenewright_stages.contract import layout
from scenewright_stages.contract.errors import ConfigurationError, SampleError
from scenewright_stages.contract.keys import short_hash
from scenewright_stages.contract.task import TaskNamedInput
from scenewright_stages.store import (
    ObjectMissing,
    PreconditionFailed,
    Store,
    StoreError,
    hash_file,
    linked_folder,
    open_store,
    split_uri,
)

FETCHERS = 8


@dataclass(frozen=True)
class Resolved:
    """A named input as a run found it.

    Attributes:
        hash: of all files that stages see.
        files: fingerprint by path below the prefix, or by name for a single file.
        single: whether it is one file.
        by_content: whether the fingerprints are content hashes; otherwise they are ETags.
    """

    hash: str
    files: Mapping[str, str]
    single: bool = False
    by_content: bool = True


def publication_hash(files: Mapping[str, Mapping[str, Any]]) -> str:
    """Hash of the reproducible result files in ``published.json``.

    Offered intermediates come from the same work, so the results alone identify a publication.
    """
    kept = [
        [path, entry["hash"]]
        for path, entry in sorted(files.items())
        if not entry.get("intermediate") and not entry.get("volatile")
    ]
    return short_hash(kept)


def resolve(name: str, wanted: TaskNamedInput) -> Resolved:
    """Resolves a named input as it is now.

    Raises:
        ConfigurationError: it is missing, or has changed since the run started.
    """
    field = wanted.field or f"inputs.{name}"
    try:
        found = _resolve(wanted)
    except StoreError as problem:
        raise ConfigurationError(field, wanted.uri, f"{problem.problem}; {problem.remedy}") from problem
    if found is None:
        raise ConfigurationError(field, wanted.uri, "nothing is there; name a published result, a folder or a file")
    if wanted.hash and found.hash != wanted.hash:
        raise ConfigurationError(
            field, wanted.uri, "it changed after this run was started; a new retry token takes the change in"
        )
    return found


def fetch_named(wanted: TaskNamedInput, resolved: Resolved, folder: Path) -> Path:
    """Local path of a named input: a file, or a folder with exactly the files that stages see.

    Files of a local store are not copied.

    Raises:
        SampleError: a file is missing or has changed (reason ``InputChanged``).
    """
    lies_alone = resolved.single and not wanted.path
    store = open_store(split_uri(wanted.uri)[0] if lies_alone else wanted.uri)

    def fetch(item: tuple[str, str]) -> Path:
        return _fetch(store, *item, folder / item[0], resolved.by_content)

    with ThreadPoolExecutor(FETCHERS) as pool:
        places = list(pool.map(fetch, sorted(resolved.files.items())))
    if resolved.single:
        return places[0]
    return linked_folder(dict(zip(sorted(resolved.files), places, strict=True)), folder)


def _resolve(wanted: TaskNamedInput) -> Resolved | None:
    parent, single = split_uri(wanted.uri)
    if single and not wanted.uri.endswith("/"):
        holder = open_store(parent)
        found = holder.head(single)
        if found is not None:
            digest = holder.fingerprint(found)
            return Resolved(digest, {single: digest}, True, holder.local_path(single) is not None)
    store = open_store(wanted.uri)
    try:
        published: dict[str, Any] = json.loads(store.get_bytes(layout.PUBLISHED))["files"]
    except ObjectMissing:
        return _foreign(store, wanted)
    results = {path: str(entry["hash"]) for path, entry in published.items() if not entry.get("intermediate")}
    offered = {path: str(entry["hash"]) for path, entry in published.items() if entry.get("offered")}
    if wanted.path:
        digest = results.get(wanted.path, "")
        return Resolved(digest, {wanted.path: digest}, True) if digest else None
    seen = {path: digest for path, digest in results.items() if _seen(path, wanted.include)}
    return Resolved(publication_hash(published), {**seen, **offered})


def _foreign(store: Store, wanted: TaskNamedInput) -> Resolved | None:
    """Resolves a prefix that is not a publication."""
    found = [each for each in store.list() if _seen(each.key, wanted.include)]
    files = {each.key: store.fingerprint(each) for each in found}
    if not files:
        return None
    return Resolved(short_hash(sorted(files.items())), files, False, store.local_path(found[0].key) is not None)


def _seen(path: str, include: Iterable[str]) -> bool:
    patterns = tuple(include)
    return not path.startswith(layout.ROOT) and (not patterns or any(fnmatchcase(path, each) for each in patterns))


def _fetch(store: Store, key: str, fingerprint: str, target: Path, by_content: bool) -> Path:
    try:
        path = store.local_path(key)
        if path is None:
            target.parent.mkdir(parents=True, exist_ok=True)
            store.get_file(key, target, if_match=None if by_content else fingerprint)
            path = target
        if not by_content or hash_file(path) == fingerprint:
            return path
    except (ObjectMissing, FileNotFoundError) as problem:
        raise SampleError("InputChanged", f"{store.uri_of(key)} is gone since it was indexed; run again") from problem
    except PreconditionFailed:
        pass
    raise SampleError("InputChanged", f"{store.uri_of(key)} changed after it was indexed; run again")
