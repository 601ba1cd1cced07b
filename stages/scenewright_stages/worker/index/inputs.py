"""Reads the job's input: lists the samples, then looks up and fingerprints their files.

Listers decide which files belong to a sample. Samples whose files are missing, empty or unreadable are rejected with a
reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from pydantic.alias_generators import to_camel

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.inputs import MAXIMUM_READ_BYTES, InputKind, Listed
from scenewright_stages.contract.keys import leaves
from scenewright_stages.contract.naming import unique_ids
from scenewright_stages.contract.notes import NAMED
from scenewright_stages.contract.pipeline import Pipeline
from scenewright_stages.contract.samples import SOURCE, Sample, SourceFile
from scenewright_stages.contract.task import Task, TaskInput
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
from scenewright_stages.worker.files import FingerprintCache, folder_source
from scenewright_stages.worker.index.curated import METADATA, is_dataset, list_dataset
from scenewright_stages.worker.index.files import (
    ignored_files,
    input_notes,
    list_files,
    select_entries,
    select_positions,
    unaccounted_files,
)
from scenewright_stages.worker.index.lists import is_list, parse_list
from scenewright_stages.worker.process.session import INPUT_FIELD, OUTPUT_FIELD, refused_at_start

HASHERS = 4
TUNING_SAMPLE = Sample("tuning")
"""The single sample of a job that has no input of its own."""


@dataclass(frozen=True)
class InputListing:
    """The samples of an input in order, notes on files that belong to no sample, and the hashes to cache."""

    samples: tuple[Sample, ...]
    ignored: tuple[str, ...]
    notes: tuple[str, ...]
    fingerprints: FingerprintCache


@dataclass(frozen=True)
class View:
    """An input: its store, its objects by key, and the key of a single object (empty for a prefix).

    Implements :class:`~scenewright_stages.contract.inputs.InputView` for listers.
    """

    store: Store
    objects: Mapping[str, StoredObject]
    single: str

    @property
    def uri(self) -> str:
        """URI of the folder or prefix."""
        return self.store.uri

    @property
    def keys(self) -> Sequence[str]:
        """Keys of all objects, sorted."""
        return list(self.objects)

    def size(self, key: str) -> int:
        """Size of an object in bytes; KeyError if it does not exist."""
        return self.objects[key].size

    def read(self, key: str) -> bytes:
        """Content of an object of at most 64 MiB; ConfigurationError for a larger one."""
        if self.size(key) > MAXIMUM_READ_BYTES:
            raise ConfigurationError(INPUT_FIELD, self.store.uri_of(key), "is too large to be a list of samples")
        return self.store.get_bytes(key)


def read_input(task: Task, pipeline: Pipeline, output: Store) -> InputListing:
    """Lists, selects and fingerprints the samples.

    Args:
        task: names the input and the selection.
        pipeline: defines what counts as a sample, and what an entry may set.
        output: where results go. Nothing below it counts as input; it caches the hashes of unchanged files.

    Raises:
        ConfigurationError: the input is missing or empty, or the selection matches nothing.
    """
    cache = FingerprintCache(output)
    if task.input is None:
        return InputListing((TUNING_SAMPLE,), (), (), cache)
    try:
        view = _view(task.input.uri, output, pipeline.hosts)
        chosen, ignored = _choose(task.input, pipeline.input, view)
        resolver = _Resolver(view, cache, pipeline)
        with ThreadPoolExecutor(HASHERS) as pool:
            samples = tuple(pool.map(resolver.sample, chosen))
        notes = input_notes(ignored, view.read if pipeline.input.masks else None)
    except StoreError as problem:
        raise refused_at_start(INPUT_FIELD, problem) from problem
    _refuse_repeated(samples, task.input.uri)
    return InputListing(samples, ignored, notes, cache)


def _view(uri: str, output: Store, hosts: Sequence[str]) -> View:
    parent_uri, name = split_uri(uri)
    if name and not uri.endswith("/"):
        parent = open_store(parent_uri)
        if parent.head(name) is not None:
            stem = name.rpartition(".")[0] or name
            objects = {entry.key: entry for entry in parent.list(stem) if "/" not in entry.key}
            return View(parent, objects, name)
    store = open_store(uri)
    if store.uri == output.uri:
        raise ConfigurationError(OUTPUT_FIELD, output.uri, "must not be the input itself; name another folder")
    own = output.uri.removeprefix(store.uri + "/") + "/" if output.uri.startswith(store.uri + "/") else None
    left_out = (*hosts, *([own] if own is not None else []))
    objects = {entry.key: entry for entry in store.list() if not entry.key.startswith(left_out or ("\0",))}
    if not objects:
        raise ConfigurationError(INPUT_FIELD, uri, "nothing is there; name a file, or a folder or prefix with files")
    return View(store, objects, "")


def _choose(task_input: TaskInput, kind: InputKind, view: View) -> tuple[list[Listed], tuple[str, ...]]:
    """The selected samples in order, and the files that belong to no sample."""
    select = task_input.select
    listed = kind.lister(view) if kind.lister is not None else None
    if listed is not None:
        found = _some(list(listed), task_input.uri)
        return select_positions(found, select.indices, select.limit), unaccounted_files(view.keys, found)
    if is_list(view.single, kind):
        rows = parse_list(view.read(view.single), view.store.uri_of(view.single), kind)
        return _some(select_positions(rows, select.indices, select.limit), task_input.uri), ()
    keys = list(view.keys)
    if not view.single and is_dataset(keys):
        entries = list_dataset(view.read(METADATA), task_input.uri, keys, kind, select.variants)
        return select_entries(entries, select.indices, select.limit), unaccounted_files(keys, entries)
    if select.variants:
        raise ConfigurationError(
            "spec.input.select.variants", select.variants, f"only a data set folder with {METADATA} has variants"
        )
    files = list_files(keys, kind)
    if view.single:
        # A single object's id must not depend on its neighbours.
        lone = unique_ids([view.single])[view.single] or "sample"
        files = [replace(each, id=lone) for each in files if each.files[SOURCE] == view.single]
    ignored = () if view.single else ignored_files(keys, files)
    if not files:
        seen = _seen(ignored) if ignored else "it is of another kind"
        wanted = kind.described or f"samples end in {' '.join(kind.suffixes)}"
        raise ConfigurationError(INPUT_FIELD, task_input.uri, f"no sample found ({seen}); {wanted}")
    return select_positions(files, select.indices, select.limit), ignored


def _seen(ignored: Sequence[str]) -> str:
    """What is there instead of samples, with the first names."""
    named = ", ".join(ignored[:NAMED]) + (", ..." if len(ignored) > NAMED else "")
    return f"{count} other files are there: {named}" if (count := len(ignored)) > 1 else f"{named} is there"


def _some(listed: list[Listed], uri: str) -> list[Listed]:
    if not listed:
        raise ConfigurationError(INPUT_FIELD, uri, "it names no sample")
    return listed


def _refuse_repeated(samples: Sequence[Sample], uri: str) -> None:
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen and sample.rejected is None:
            raise ConfigurationError(INPUT_FIELD, uri, f"names the sample {sample.id!r} twice; give each its own id")
        seen.add(sample.id)


class _Resolver:
    """Turns listed samples into samples with fingerprinted files."""

    def __init__(self, view: View, cache: FingerprintCache, pipeline: Pipeline) -> None:
        self._view, self._cache, self._pipeline = view, cache, pipeline
        self._stores: dict[str, Store] = {}

    def sample(self, listed: Listed) -> Sample:
        """The sample; rejected if a file is not usable or its entry sets a forbidden parameter."""
        sample = Sample(listed.id, attributes=dict(listed.attributes), overrides=listed.overrides, notes=listed.notes)
        rejected = listed.rejected or _refused_overrides(listed.overrides, self._pipeline)
        if rejected is not None:
            return replace(sample, rejected=rejected)
        try:
            files = {role: self._file(name) for role, name in sorted(listed.files.items())}
            provided = {
                stage: {output: self._file(name) for output, name in sorted(outputs.items())}
                for stage, outputs in listed.provided.items()
            }
        except UnsafeKey as problem:
            return replace(sample, rejected=("OutsideInput", problem.problem))
        except (AccessRefused, ObjectMissing) as problem:
            reason = "InputMissing" if isinstance(problem, ObjectMissing) else "Unreadable"
            return replace(sample, rejected=(reason, f"{problem.uri}: {problem.problem}"))
        sample = replace(sample, files=files, provided=provided)
        if sample.source is not None and sample.source.size == 0:
            return replace(sample, rejected=("EmptyFile", "the file is empty"))
        return sample

    def _file(self, name: str) -> SourceFile:
        if "://" not in name:
            if name.endswith("/"):
                return folder_source(self._view.store, name, self._cache)
            return self._described(self._view.store, self._view.objects.get(name), name)
        parent, key = split_uri(name)
        store = self._stores.setdefault(parent, open_store(parent))
        if name.endswith("/"):
            return folder_source(store, f"{key}/", self._cache)
        return self._described(store, store.head(key), key)

    def _described(self, store: Store, found: StoredObject | None, key: str) -> SourceFile:
        if found is None:
            raise ObjectMissing(store.uri_of(key))
        return SourceFile(store.uri_of(key), found.size, self._cache.fingerprint(store, found))


def _refused_overrides(overrides: Mapping[str, Any], pipeline: Pipeline) -> tuple[str, str] | None:
    """Why a sample is rejected, if its entry sets a parameter that entries may not set."""
    allowed = [".".join(to_camel(part) for part in path.split(".")) for path in pipeline.entry_parameters]
    for path in leaves(overrides):
        if not any(f"{path}.".startswith(f"{each}.") for each in allowed):
            names = ", ".join(allowed) or "none"
            return "BadEntry", f"parameters.{path} cannot be set by an entry; allowed: {names}"
    return None
