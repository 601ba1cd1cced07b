"""Parses input lists: ``.jsonl`` or ``.csv`` files with one sample per line. Pure functions.

A line names its object as ``uri`` (or ``file_name``, ``image``, ``path``), absolute or relative to the list. It may
also give an ``id``, sidecars by role (``mask``), its own ``parameters``, and further facts, which stages can read as
attributes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.inputs import InputKind, Listed
from scenewright_stages.contract.samples import SOURCE
from scenewright_stages.worker.index.files import entry_facts, typed_names, unique_ids
from scenewright_stages.worker.process.session import INPUT_FIELD

SUFFIXES = (".jsonl", ".csv")
URI_COLUMNS = ("uri", "file_name", "image", "path")
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
    rows = _rows(content, uri)
    folder = uri.rpartition("/")[0]
    paths = [_path(row, line, uri) for line, row in enumerate(rows, start=1)]
    names = _names(rows, paths)
    ids = unique_ids(list(dict.fromkeys(names)))
    repeated = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if repeated:
        raise ConfigurationError(INPUT_FIELD, uri, f"names {sorted(repeated)[0]!r} twice; give every line its own id")
    return [
        _listed(row, ids[name], _absolute(path, folder), folder, kind)
        for row, path, name in zip(rows, paths, names, strict=True)
    ]


def _listed(row: Mapping[str, Any], sample_id: str, uri: str, folder: str, kind: InputKind) -> Listed:
    if not sample_id:
        return Listed("unnamed", rejected=("BadSampleId", f"{uri!r} gives no usable id; name one in the list"))
    sidecars = {role: _absolute(str(row[role]), folder) for role in kind.sidecars if row.get(role)}
    facts, rejected = entry_facts(_facts(row, kind), kind)
    overrides = row.get(PARAMETERS)
    return Listed(
        sample_id,
        {SOURCE: uri, **sidecars},
        facts,
        overrides if isinstance(overrides, dict) else {},
        rejected=rejected,
    )


def _rows(content: bytes, uri: str) -> list[dict[str, Any]]:
    try:
        text = content.decode("utf-8-sig")
        if uri.lower().endswith(".csv"):
            return [{key: value for key, value in row.items() if key} for row in csv.DictReader(io.StringIO(text))]
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as problem:
        raise ConfigurationError(INPUT_FIELD, uri, f"is not a list of samples: {problem}") from None
    if not all(isinstance(row, dict) for row in rows):
        raise ConfigurationError(INPUT_FIELD, uri, "every line must be a JSON object")
    return rows


def _path(row: Mapping[str, Any], line: int, uri: str) -> str:
    for name in URI_COLUMNS:
        if isinstance(row.get(name), str) and row[name].strip():
            return _permitted(row[name].strip(), uri, line)
    raise ConfigurationError(INPUT_FIELD, uri, f"line {line} names no object; give it as {' or '.join(URI_COLUMNS)}")


def _permitted(path: str, uri: str, line: int) -> str:
    remote = uri.startswith("s3://")
    if remote and (path.startswith(("/", "file://")) or ".." in path.split("/")):
        raise ConfigurationError(
            INPUT_FIELD, uri, f"line {line} names {path!r}: a list in an object store names objects"
        )
    return path


def _names(rows: Sequence[Mapping[str, Any]], paths: Sequence[str]) -> list[str]:
    """The names that ids are made from: given ids, else file names, with their folders if they repeat."""
    files = [path.rpartition("/")[2] for path in paths]
    if len(set(files)) < len(files):
        files = [path.partition("://")[2] or path for path in paths]
    # Append a suffix, because an id drops everything after the last dot.
    return [f"{row['id']}.id" if row.get("id") else file for row, file in zip(rows, files, strict=True)]


def _absolute(path: str, folder: str) -> str:
    if "://" in path:
        return path
    if path.startswith("/"):
        return "file://" + quote(path)
    return f"{folder}/{quote(path) if folder.startswith('file://') else path}"


def _facts(row: Mapping[str, Any], kind: InputKind) -> dict[str, Any]:
    known = {"id", PARAMETERS, *URI_COLUMNS, *kind.sidecars}
    typed = typed_names(kind)
    facts = {
        # Text stays text, even if it looks like a number.
        name: value if typed.get(name) is str else _fact(value)
        for name, value in row.items()
        if name not in known and value not in (None, "")
    }
    return dict(list(facts.items())[:MAXIMUM_ATTRIBUTES])


def _fact(value: Any) -> Any:
    """A CSV cell as number or list if it looks like one: ``0.1, 0.2`` is a list."""
    if not isinstance(value, str):
        return value
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        return value
    return numbers if len(numbers) > 1 else numbers[0]
