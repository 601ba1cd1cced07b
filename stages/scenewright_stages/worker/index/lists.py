"""Parses input lists: ``.jsonl`` or ``.csv`` files with one sample per line. Pure functions.

A line names its object as ``uri`` (or ``file_name``, ``image``, ``path``), absolute or relative to the list. It may
also give an ``id``, sidecars by role (``mask``), its own ``parameters``, and further facts, which stages can read as
attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.inputs import InputKind, Listed
from scenewright_stages.contract.lists import (
    BAD_ENTRY,
    URI_FIELDS,
    Row,
    file_in,
    id_in,
    named_file,
    read_rows,
    refuse_misspelt,
    refuse_repeated,
)
from scenewright_stages.contract.naming import unique_ids
from scenewright_stages.contract.notes import found_and_not_used
from scenewright_stages.contract.samples import SOURCE
from scenewright_stages.worker.index.files import entry_facts, typed_names
from scenewright_stages.worker.process.session import INPUT_FIELD

SUFFIXES = (".jsonl", ".csv")
PARAMETERS = "parameters"
MAXIMUM_ATTRIBUTES = 32


def is_list(name: str, kind: InputKind) -> bool:
    """Whether an object of that name is a list of samples."""
    return kind.listings and name.lower().endswith(SUFFIXES)


def parse_list(content: bytes, uri: str, kind: InputKind) -> list[Listed]:
    """The samples of a list, in file order.

    Args:
        content: of the file.
        uri: of the file; names are relative to its folder. A list in an object store cannot name local files.
        kind: gives the roles of sidecars and the types of facts.

    Raises:
        ConfigurationError: the file is not a valid list; the error names the line.
    """
    rows = read_rows(content, uri)
    refuse_misspelt(rows, {"id", PARAMETERS, *URI_FIELDS, *kind.sidecars, *typed_names(kind)}, uri)
    paths = [_permitted(named_file(row, uri), uri, row.line) for row in rows]
    names = _names(rows, paths, uri)
    refuse_repeated(rows, names, uri)
    ids = unique_ids(names)
    folder = uri.rpartition("/")[0]
    return [
        _listed(row, ids[name], _absolute(path, folder), uri, kind)
        for row, path, name in zip(rows, paths, names, strict=True)
    ]


def _listed(row: Row, sample_id: str, path: str, uri: str, kind: InputKind) -> Listed:
    if not sample_id:
        unnamed = ("BadSampleId", row.said("id", f"and {path!r} give no usable id; name one in the list"))
        return Listed(f"unnamed-{row.line}", rejected=unnamed)
    folder = uri.rpartition("/")[0]
    sidecars = {
        role: _absolute(_permitted(file, uri, row.line), folder)
        for role in kind.sidecars
        if (file := file_in(row, role, uri))
    }
    stated = _facts(row, kind)
    too_many = dict.fromkeys(list(stated)[MAXIMUM_ATTRIBUTES:], f"a line may state {MAXIMUM_ATTRIBUTES} facts")
    note = found_and_not_used(too_many)
    facts, rejected = entry_facts(dict(list(stated.items())[:MAXIMUM_ATTRIBUTES]), kind)
    overrides = row.values.get(PARAMETERS, {})
    if rejected is not None:
        rejected = (rejected[0], f"line {row.line}: {rejected[1]}")
    elif not isinstance(overrides, dict):
        rejected = (BAD_ENTRY, row.said(PARAMETERS, "must be an object"))
    return Listed(
        sample_id,
        {SOURCE: path, **sidecars},
        facts,
        overrides if isinstance(overrides, dict) else {},
        rejected=rejected,
        notes=(f"line {row.line}: {note}",) if note else (),
    )


def _permitted(path: str, uri: str, line: int) -> str:
    remote = uri.startswith("s3://")
    if remote and (path.startswith(("/", "file://")) or ".." in path.split("/")):
        raise ConfigurationError(
            INPUT_FIELD, uri, f"line {line} names {path!r}: a list in an object store names objects"
        )
    return path


def _names(rows: Sequence[Row], paths: Sequence[str], uri: str) -> list[str]:
    """The names that ids are made from: given ids, else file names, with their folders if they repeat.

    Raises:
        ConfigurationError: an id is no text.
    """
    files = [path.rpartition("/")[2] for path in paths]
    if len(set(files)) < len(files):
        files = [path.partition("://")[2] or path for path in paths]
    # Append a suffix, because an id drops everything after the last dot.
    return [f"{given}.id" if (given := id_in(row, uri)) else file for row, file in zip(rows, files, strict=True)]


def _absolute(path: str, folder: str) -> str:
    if "://" in path:
        return path
    if path.startswith("/"):
        return "file://" + quote(path)
    return f"{folder}/{quote(path) if folder.startswith('file://') else path}"


def _facts(row: Row, kind: InputKind) -> dict[str, Any]:
    known = {"id", PARAMETERS, *URI_FIELDS, *kind.sidecars}
    typed = typed_names(kind)
    return {
        # Text stays text, even if it looks like a number.
        name: value if typed.get(name) is str else _fact(value)
        for name, value in row.values.items()
        if name not in known
    }


def _fact(value: Any) -> Any:
    """A CSV cell as number or list if it looks like one: ``0.1, 0.2`` is a list."""
    if not isinstance(value, str):
        return value
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        return value
    return numbers if len(numbers) > 1 else numbers[0]
