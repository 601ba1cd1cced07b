"""Files of the input and the output: their fingerprints, and local copies that are verified before anybody reads them.

An input object or folder has the fingerprint that the index stored; an output has the hash of its record. A copy that
does not match is a sample error, so no stage ever works on a file that changed after it was listed.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.keys import short_hash
from scenewright_stages.contract.layout import ROOT
from scenewright_stages.contract.records import OutputFile
from scenewright_stages.contract.samples import SourceFile
from scenewright_stages.contract.stage import Local
from scenewright_stages.store import (
    ObjectMissing,
    PreconditionFailed,
    Store,
    StoredObject,
    StoreError,
    hash_file,
    linked_folder,
    open_store,
    split_uri,
)

FINGERPRINTS = f"{ROOT}/fingerprints.json"
SETTLED_SECONDS = 2.0
"""A file that is younger may change again within the resolution of its time stamp: it is hashed every time."""


def fetch_source(source: SourceFile, folder: Path) -> Path:
    """Local path of an input object or folder, verified to be the indexed one.

    Raises:
        SampleError: it is missing or has changed (reasons ``InputMissing``, ``InputChanged``).
    """
    parent, name = split_uri(source.uri)
    store = open_store(parent)
    changed = SampleError("InputChanged", f"{source.uri} changed after it was indexed; run again")
    try:
        if source.is_folder:
            if folder_source(store, f"{name}/").fingerprint != source.fingerprint:
                raise changed
            return _fetch_folder(store, f"{name}/", folder)
        local = store.local_path(name)
        if local is not None:
            if hash_file(local) != source.fingerprint:
                raise changed
            return local
        folder.mkdir(parents=True, exist_ok=True)
        store.get_file(name, folder / name, if_match=source.fingerprint)
    except PreconditionFailed as problem:
        raise changed from problem
    except (ObjectMissing, FileNotFoundError) as problem:
        raise SampleError("InputMissing", f"{source.uri} is gone since it was indexed") from problem
    return folder / name


def fetch_output(output: Store, stored: OutputFile, folder: Path) -> Local:
    """Local path of a stored output, verified by its hash; one path per numbered file, one for a whole folder.

    Raises:
        SampleError: it is missing or has changed (reason ``UpstreamChanged``).
    """
    if "://" in stored.path:
        return fetch_source(SourceFile(stored.path, stored.size, stored.hash), folder)
    target = folder / stored.path.rstrip("/").replace("/", "__")[-200:]
    if not (stored.is_folder or stored.is_numbered):
        return _fetch_file(output, stored, target)
    paths = {name: _fetch_file(output, file, target / name) for name, file in stored.files().items()}
    return linked_folder(paths, target) if stored.is_folder else tuple(paths.values())


def _fetch_file(output: Store, stored: OutputFile, target: Path) -> Path:
    try:
        path = output.local_path(stored.path)
        if path is None:
            target.parent.mkdir(parents=True, exist_ok=True)
            output.get_file(stored.path, target)
            path = target
        found = hash_file(path)
    except (ObjectMissing, FileNotFoundError) as problem:
        raise SampleError("UpstreamChanged", f"{stored.path} is gone; run again") from problem
    if found != stored.hash:
        raise SampleError("UpstreamChanged", f"{stored.path} is not what its record says; run again")
    return path


def _fetch_folder(store: Store, prefix: str, folder: Path) -> Path:
    local = store.local_path(prefix.rstrip("/"))
    if local is not None:
        return local
    for each in store.list(prefix):
        target = folder / each.key.removeprefix(prefix)
        target.parent.mkdir(parents=True, exist_ok=True)
        store.get_file(each.key, target, if_match=each.etag)
    return folder


def folder_source(store: Store, prefix: str, cache: FingerprintCache | None = None) -> SourceFile:
    """A folder of the input as one source.

    Raises:
        ObjectMissing: the folder is empty.
    """
    objects = list(store.list(prefix))
    if not objects:
        raise ObjectMissing(store.uri_of(prefix.rstrip("/")))
    prints = [
        [each.key.removeprefix(prefix), cache.fingerprint(store, each) if cache else store.fingerprint(each)]
        for each in objects
    ]
    uri = store.uri_of(prefix.rstrip("/")) + "/"
    return SourceFile(uri, sum(each.size for each in objects), short_hash(prints), len(objects))


class FingerprintCache:
    """Cached content hashes of input files that have not changed since they were hashed.

    Args:
        output: store that holds the cache.
    """

    def __init__(self, output: Store) -> None:
        self._output = output
        self._known = self._load()
        self._used: dict[str, list[str]] = {}

    def fingerprint(self, store: Store, entry: StoredObject) -> str:
        """The fingerprint of an input object; reads the content only if it is not cached."""
        if store.local_path(entry.key) is None:
            return store.fingerprint(entry)
        uri = store.uri_of(entry.key)
        etag, value = self._known.get(uri, ("", ""))
        if etag != entry.etag:
            value = store.fingerprint(entry)
        if time.time() - entry.modified > SETTLED_SECONDS:
            self._used[uri] = [entry.etag, value]
        return value

    def changed(self) -> bool:
        """Whether there are new hashes to store."""
        return self._used != self._known

    def content(self) -> bytes:
        """What to store at :data:`FINGERPRINTS`."""
        return json.dumps(self._used, sort_keys=True, indent=0).encode()

    def _load(self) -> dict[str, list[str]]:
        try:
            data = json.loads(self._output.get_bytes(FINGERPRINTS))
        except (StoreError, ValueError):
            return {}
        return {uri: entry for uri, entry in data.items() if isinstance(entry, list) and len(entry) == 2}
