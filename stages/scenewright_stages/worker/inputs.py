"""Reads the job's input: finds the samples, and what their files are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.layout import ROOT
from scenewright_stages.contract.pipeline import InputKind
from scenewright_stages.contract.samples import Sample, SourceFile
from scenewright_stages.contract.task import TaskInput
from scenewright_stages.store import (
    AccessRefused,
    ObjectMissing,
    Store,
    StoredObject,
    StoreError,
    UnsafeKey,
    open_store,
    split_uri,
)
from scenewright_stages.worker.datasets import METADATA, is_dataset, list_dataset, select_entries
from scenewright_stages.worker.listing import Candidate, Listing, list_files, unique_ids
from scenewright_stages.worker.listings import ListedSample, is_listing, parse_listing
from scenewright_stages.worker.selection import select_positions
from scenewright_stages.worker.session import INPUT_FIELD, OUTPUT_FIELD, input_refused

FINGERPRINTS = f"{ROOT}/fingerprints.json"
SETTLED_SECONDS = 2.0
"""A file that is younger may change again within the resolution of its time stamp: it is hashed every time."""
HASHERS = 4


@dataclass(frozen=True)
class InputListing:
    """The samples of an input, in order, the files that are none, and the hashes to keep for the next time."""

    samples: tuple[Sample, ...]
    ignored: tuple[str, ...]
    fingerprints: FingerprintCache


@dataclass(frozen=True)
class _Found:
    """Where the input is, its objects by key, and the key of a single object (empty for a prefix)."""

    store: Store
    objects: Mapping[str, StoredObject]
    single: str


def read_input(task_input: TaskInput, kind: InputKind, output: Store) -> InputListing:
    """Lists, selects and fingerprints the samples.

    Args:
        task_input: URI and selection.
        kind: what counts as a sample.
        output: where results go: nothing below it is input, and it keeps hashes of unchanged files.

    Raises:
        ConfigurationError: the input is missing or empty, or the selection names what is not there.
    """
    try:
        found = _find(task_input.uri, output)
        cache = FingerprintCache(output)
        if is_listing(found.single, kind):
            return InputListing(_listed(task_input, kind, found, cache), (), cache)
        chosen, ignored = _choose(task_input, kind, found)
        with ThreadPoolExecutor(HASHERS) as pool:
            samples = tuple(pool.map(lambda candidate: _sample(candidate, found, cache), chosen))
    except StoreError as problem:
        raise input_refused(problem) from problem
    return InputListing(samples, ignored, cache)


def _find(uri: str, output: Store) -> _Found:
    parent_uri, name = split_uri(uri)
    if name and not uri.endswith("/"):
        parent = open_store(parent_uri)
        if parent.head(name) is not None:
            stem = name.rpartition(".")[0] or name
            objects = {entry.key: entry for entry in parent.list(stem) if "/" not in entry.key}
            return _Found(parent, objects, name)
    store = open_store(uri)
    if store.uri == output.uri:
        raise ConfigurationError(OUTPUT_FIELD, output.uri, "must not be the input itself; name another folder")
    own = output.uri.removeprefix(store.uri + "/") + "/" if output.uri.startswith(store.uri + "/") else None
    objects = {entry.key: entry for entry in store.list() if own is None or not entry.key.startswith(own)}
    if not objects:
        raise ConfigurationError(INPUT_FIELD, uri, "there is nothing; name a file, or a folder or prefix with files")
    return _Found(store, objects, "")


def _choose(task_input: TaskInput, kind: InputKind, found: _Found) -> tuple[list[Candidate], tuple[str, ...]]:
    select = task_input.select
    keys = list(found.objects)
    if not found.single and is_dataset(keys):
        content = found.store.get_bytes(METADATA)
        listing = list_dataset(content, task_input.uri, keys, kind, select.variants)
        return select_entries(listing, select.indices, select.limit), listing.ignored
    if select.variants:
        raise ConfigurationError(
            "spec.input.select.variants", select.variants, f"only a dataset folder with {METADATA} has variants"
        )
    listing = _files(task_input.uri, kind, found)
    return select_positions(listing.candidates, select.indices, select.limit), listing.ignored


def _listed(task_input: TaskInput, kind: InputKind, found: _Found, cache: FingerprintCache) -> tuple[Sample, ...]:
    """The samples that a list names."""
    select = task_input.select
    rows = parse_listing(found.store.get_bytes(found.single), found.store.uri_of(found.single), kind)
    chosen = select_positions(rows, select.indices, select.limit)
    if not chosen:
        raise ConfigurationError(INPUT_FIELD, task_input.uri, "the list names no sample")
    stores: dict[str, Store] = {}

    def source(uri: str) -> SourceFile:
        parent, name = split_uri(uri)
        store = stores.setdefault(parent, open_store(parent))
        entry = store.head(name)
        if entry is None:
            raise ObjectMissing(uri)
        return _source(entry, store, cache)

    with ThreadPoolExecutor(HASHERS) as pool:
        return tuple(pool.map(lambda row: _listed_sample(row, source), chosen))


def _listed_sample(row: ListedSample, source: Callable[[str], SourceFile]) -> Sample:
    attributes = dict(row.attributes)
    if not row.id:
        return Sample("unnamed", rejected=("BadSampleId", f"{row.uri!r} gives no usable id; name one in the list"))
    try:
        sidecars = {role: source(uri) for role, uri in sorted(row.sidecars.items())}
        return _unless_empty(Sample(row.id, source(row.uri), sidecars, attributes=attributes))
    except (ObjectMissing, UnsafeKey, AccessRefused) as problem:
        reason = "InputMissing" if isinstance(problem, ObjectMissing) else "Unreadable"
        return Sample(row.id, attributes=attributes, rejected=(reason, f"{problem.uri}: {problem.problem}"))


def _files(uri: str, kind: InputKind, found: _Found) -> Listing:
    keys = list(found.objects)
    listing = list_files(keys, kind)
    if found.single:
        own = tuple(candidate for candidate in listing.candidates if candidate.key == found.single)
        listing = Listing(tuple(replace(candidate, id=_lone_id(found.single)) for candidate in own))
    if not listing.candidates:
        seen = f"{len(listing.ignored)} other files are there" if listing.ignored else "it is of another kind"
        raise ConfigurationError(
            INPUT_FIELD, uri, f"no sample found ({seen}); samples end in {' '.join(kind.suffixes)}"
        )
    return listing


def _lone_id(key: str) -> str:
    """The id of a single object does not depend on its neighbours."""
    return unique_ids([key])[key] or "sample"


def _sample(candidate: Candidate, found: _Found, cache: FingerprintCache) -> Sample:
    attributes = dict(candidate.attributes)
    if candidate.rejected is not None:
        return Sample(candidate.id, attributes=attributes, rejected=candidate.rejected)
    try:
        source = _source(found.objects[candidate.key], found.store, cache)
        sidecars = {
            role: _source(found.objects[key], found.store, cache) for role, key in sorted(candidate.sidecars.items())
        }
    except UnsafeKey as problem:
        return Sample(candidate.id, attributes=attributes, rejected=("OutsideInput", problem.problem))
    except (AccessRefused, ObjectMissing) as problem:
        return Sample(candidate.id, attributes=attributes, rejected=("Unreadable", problem.problem))
    return _unless_empty(Sample(candidate.id, source, sidecars, attributes=attributes))


def _unless_empty(sample: Sample) -> Sample:
    if sample.source is not None and sample.source.size == 0:
        return replace(sample, rejected=("EmptyFile", "the file is empty"))
    return sample


def _source(entry: StoredObject, store: Store, cache: FingerprintCache) -> SourceFile:
    return SourceFile(store.uri_of(entry.key), entry.size, cache.fingerprint(store, entry))


class FingerprintCache:
    """Content hashes of input files that have not changed since they were last hashed.

    Args:
        output: where the cache is kept.
    """

    def __init__(self, output: Store) -> None:
        self._output = output
        self._known = self._load()
        self._used: dict[str, list[str]] = {}

    def fingerprint(self, store: Store, entry: StoredObject) -> str:
        """The fingerprint of an input object; the content is read only when it is not known yet."""
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
        """Whether there is something new to keep."""
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
