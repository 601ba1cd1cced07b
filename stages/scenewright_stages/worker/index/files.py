"""Turns the file names of an input into samples: one per file, with its sidecars. Pure functions.

An input is a single object, a prefix with one sample per file, a list of samples
(:mod:`scenewright_stages.worker.index.lists`), or a data set folder whose ``metadata.json`` names the samples and
their variants (:mod:`scenewright_stages.worker.index.curated`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.inputs import InputKind, Listed
from scenewright_stages.contract.naming import Present, digest_of, paired_files, sidecars_of, unique_ids
from scenewright_stages.contract.notes import found_and_not_used, is_unread_picture, needs_no_note, reason_for
from scenewright_stages.contract.samples import SOURCE
from scenewright_stages.worker.index.annotations import Read, labels_of_programs

INDICES_FIELD = "spec.input.select.indices"

Item = TypeVar("Item")


def list_files(keys: Iterable[str], kind: InputKind) -> list[Listed]:
    """One sample per file with one of the kind's suffixes, sorted by key.

    Ignores hidden files and folders. A sidecar belongs to the file with the same stem.
    """
    files = paired_files(list(keys), kind.suffixes, kind.sidecars, kind.folders)
    ids = unique_ids(list(files))
    return [_listed(key, ids[key], found) for key, found in files.items()]


def ignored_files(keys: Iterable[str], listed: Iterable[Listed]) -> tuple[str, ...]:
    """Files that belong to no sample, without hidden ones and those that describe the input for people."""
    used = {key for each in listed for key in each.files.values()}
    return tuple(key for key in keys if key not in used and not needs_no_note(key))


def unaccounted_files(keys: Iterable[str], listed: Sequence[Listed]) -> tuple[str, ...]:
    """Files of which neither a sample nor its notes speak.

    A lister that does not account for what it meets may have read any file, so only pictures of formats that are not
    read remain.
    """
    whole = all(each.accounted is not None for each in listed)
    accounted = frozenset[str]().union(*(each.accounted or () for each in listed))
    left = (key for key in ignored_files(keys, listed) if key not in accounted)
    return tuple(key for key in left if whole or is_unread_picture(key))


def input_notes(ignored: Sequence[str], read: Read | None = None) -> tuple[str, ...]:
    """The note on files that belong to no sample.

    Args:
        ignored: keys of these files.
        read: their content, to name labels of other programs with a way to make masks of them; None where no mask is
            read.
    """
    labels = labels_of_programs(ignored, read) if read is not None else {}
    reasons = {key: labels.get(key) or reason_for(key, "neither sample nor sidecar") for key in ignored}
    note = found_and_not_used(reasons)
    return (note,) if note else ()


def files_of(key: str, kind: InputKind, present: set[str]) -> dict[str, str]:
    """Keys of a source and its sidecars, by role; for each role the first suffix that exists."""
    return {SOURCE: key, **sidecars_of(key, Present(present), kind.suffixes, kind.sidecars, kind.folders)}


def parse_indices(text: str) -> list[tuple[int, int]] | None:
    """Parses inclusive ranges of positions such as ``0-9,12``; None for everything.

    Raises:
        ConfigurationError: the text is not of this form.
    """
    if not text.strip():
        return None
    return [_parse_range(part.strip(), text) for part in text.split(",")]


def select_positions(items: Sequence[Item], indices: str, limit: int | None) -> list[Item]:
    """The items at the selected positions, in order, at most `limit`.

    Raises:
        ConfigurationError: a selected position does not exist.
    """
    ranges = parse_indices(indices)
    if ranges is None:
        chosen = list(items)
    else:
        if any(first >= len(items) for first, _ in ranges):
            raise ConfigurationError(
                INDICES_FIELD, indices, f"the input has {len(items)} positions, 0 to {len(items) - 1}"
            )
        chosen = [item for at, item in enumerate(items) if any(first <= at <= last for first, last in ranges)]
    return chosen if limit is None else chosen[:limit]


def select_entries(listed: Sequence[Listed], indices: str, limit: int | None) -> list[Listed]:
    """The samples of a data set whose entry is selected; `indices` counts entries, `limit` counts samples."""
    numbers = [int(each.attributes["index"]) for each in listed]
    ranges = parse_indices(indices)
    if ranges is None:
        return select_positions(listed, "", limit)
    if any(first > max(numbers) for first, _ in ranges):
        raise ConfigurationError(INDICES_FIELD, indices, f"the data set's entries are 0 to {max(numbers)}")
    chosen = [
        each
        for each, number in zip(listed, numbers, strict=True)
        if any(first <= number <= last for first, last in ranges)
    ]
    return select_positions(chosen, "", limit)


def _parse_range(part: str, text: str) -> tuple[int, int]:
    first, dash, last = part.partition("-")
    if not first.strip().isdigit() or (dash and not last.strip().isdigit()):
        raise ConfigurationError(INDICES_FIELD, text, "positions and ranges separated by commas, such as 0-9,12")
    start, end = int(first), int(last) if dash else int(first)
    if end < start:
        raise ConfigurationError(INDICES_FIELD, text, f"the range {part} runs backwards")
    return start, end


def _listed(key: str, sample_id: str, files: Mapping[str, str]) -> Listed:
    if not sample_id or not _is_utf8(key):
        rejected = ("BadSampleId", f"{key!r} gives no usable id; rename it")
        return Listed(f"unnamed-{digest_of(key)}", {SOURCE: key}, rejected=rejected)
    return Listed(sample_id, files)


def _is_utf8(key: str) -> bool:
    """Whether a name can be written down; a file system may hold names of any bytes."""
    return not any("\ud800" <= each <= "\udfff" for each in key)


def typed_names(kind: InputKind) -> dict[str, object]:
    """Annotation of every fact that the pipeline types, by its name in Python and in manifests."""
    fields = kind.entry.model_fields.items() if kind.entry is not None else ()
    return {each: field.annotation for name, field in fields for each in (name, field.alias or name)}


def entry_facts(row: Mapping[str, object], kind: InputKind) -> tuple[dict[str, object], tuple[str, str] | None]:
    """The facts of an entry, typed by the pipeline, and why the sample is rejected if they do not fit."""
    if kind.entry is None:
        return dict(row), None
    typed = typed_names(kind)
    given = {name: value for name, value in row.items() if name in typed}
    try:
        checked = kind.entry.model_validate(given)
    except ValueError as problem:
        first = problem.errors()[0] if hasattr(problem, "errors") else {"loc": (), "msg": str(problem)}
        where = ".".join(str(part) for part in first["loc"])
        return dict(row), ("BadEntry", f"{where}: {first['msg']}" if where else str(first["msg"]))
    return {**row, **checked.model_dump(mode="json", exclude_unset=True)}, None
