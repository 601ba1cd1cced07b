"""Reads the lines of a list of samples, ``.jsonl`` or ``.csv``, for every lister.

Whatever a line holds, the answer is its values by field or an error that names line, field and value.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scenewright_stages.contract.errors import ConfigurationError, SampleError
from scenewright_stages.contract.notes import found_and_not_used

URI_FIELDS = ("uri", "file_name", "image", "path")
"""Fields that name a sample's file; the first that is there counts."""
FIELD = "spec.input.uri"
BAD_ENTRY = "BadEntry"
_SIMILAR = 0.8
_SHOWN = 80


@dataclass(frozen=True)
class Row:
    """A line of a list.

    Attributes:
        line: its number in the file, from 1.
        values: by field; without empty cells and nulls.
    """

    line: int
    values: Mapping[str, Any]

    def text(self, field: str) -> str:
        """A field as text; numbers are texts too. Empty if it is not given.

        Raises:
            SampleError: it is something else (reason ``BadEntry``).
        """
        value = self.values.get(field, "")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.bad(field, "must be a text")
        return str(value).strip()

    def numbers(self, field: str, value: Any = None) -> list[float]:
        """A field, or a part of it, as finite numbers: a list, or a text with commas.

        Raises:
            SampleError: it is something else (reason ``BadEntry``).
        """
        value = self.values.get(field) if value is None else value
        parts = value.split(",") if isinstance(value, str) else value
        if isinstance(parts, bool) or not isinstance(parts, list) or any(isinstance(each, bool) for each in parts):
            raise self.bad(field, "must be numbers", value)
        try:
            found = [float(part) for part in parts]
        except (TypeError, ValueError, OverflowError):
            raise self.bad(field, "must be numbers", value) from None
        if not all(map(math.isfinite, found)):
            raise self.bad(field, "must be finite numbers", value)
        return found

    def bad(self, field: str, problem: str, value: Any = None) -> SampleError:
        """The error for a field: its line, name, value, and what it must be."""
        return SampleError(BAD_ENTRY, self.said(field, problem, value))

    def said(self, field: str, problem: str, value: Any = None) -> str:
        """The message for a field."""
        return f"line {self.line}: {field}: {shown(self.values.get(field) if value is None else value)} {problem}"


def read_rows(content: bytes, uri: str) -> list[Row]:
    """The lines of a list in file order; blank lines are left out.

    Raises:
        ConfigurationError: the file is not a list; the error names the line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = content[: problem.start].count(b"\n") + 1
        raise ConfigurationError(
            FIELD, uri, f"line {line} is not UTF-8 text ({problem.reason}): save it as UTF-8"
        ) from None
    read = _csv_rows if uri.lower().endswith(".csv") else _json_rows
    found = []
    for line, values in read(text, uri):
        given = {name: value for name, value in values.items() if value is not None and value != ""}
        for name, value in given.items():
            if not _is_text_all_through(name) or not _is_text_all_through(value):
                raise _refused(uri, line, f"{shown(name)}: {shown(value)} holds half of a character (a lone surrogate)")
        found.append(Row(line, given))
    return found


def refuse_misspelt(rows: Sequence[Row], known: Collection[str], uri: str) -> None:
    """Refuses fields that are almost, but not quite, one that is read.

    Raises:
        ConfigurationError: with line, field and the name that was probably meant.
    """
    for row in rows:
        for name in row.values:
            if name not in known and (close := difflib.get_close_matches(name, known, 1, _SIMILAR)):
                raise _refused(uri, row.line, f"field {shown(name)} is not read; did you mean {close[0]!r}?")


def unread_fields(rows: Sequence[Row], known: Collection[str]) -> tuple[str, ...]:
    """A note that names the fields that no reader of this list knows; empty if there is none."""
    why = f"read are {', '.join(sorted(known))}"
    names = dict.fromkeys(name for row in rows for name in row.values if name not in known)
    note = found_and_not_used({f"field {shown(name)}": why for name in names})
    return (note,) if note else ()


def named_file(row: Row, uri: str) -> str:
    """The file that a line names.

    Raises:
        ConfigurationError: it names none.
    """
    for name in URI_FIELDS:
        if name in row.values:
            return file_in(row, name, uri)
    given = ", ".join(map(shown, row.values)) or "nothing"
    wanted = " or ".join(URI_FIELDS)
    raise ConfigurationError(FIELD, uri, f"line {row.line} names no file (it has {given}); give it as {wanted}")


def file_in(row: Row, field: str, uri: str) -> str:
    """The file that a field names; empty if the field is not given.

    Raises:
        ConfigurationError: it is no text, or no file can have that name.
    """
    value = row.values.get(field, "")
    if not isinstance(value, str) or any(ord(each) < 32 for each in value):
        raise ConfigurationError(FIELD, uri, row.said(field, "must be the name of a file"))
    return value.strip()


def id_in(row: Row, uri: str) -> str:
    """The id that a line gives; empty if it gives none.

    Raises:
        ConfigurationError: it is no text.
    """
    try:
        return row.text("id")
    except SampleError as problem:
        raise ConfigurationError(FIELD, uri, problem.message) from None


def refuse_repeated(rows: Sequence[Row], names: Sequence[str], uri: str) -> None:
    """Refuses a list in which two lines name the same sample.

    Raises:
        ConfigurationError: with both lines.
    """
    first: dict[str, int] = {}
    for row, name in zip(rows, names, strict=True):
        if name in first:
            raise ConfigurationError(
                FIELD, uri, f"names {name!r} twice, in lines {first[name]} and {row.line}; give every line its own id"
            )
        first[name] = row.line


def shown(value: Any) -> str:
    """A value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _json_rows(text: str, uri: str) -> Iterator[tuple[int, dict[str, Any]]]:
    # Not splitlines(): JSON texts may hold the other line separators of Unicode.
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            values = json.loads(content, object_pairs_hook=_distinct)
        except (ValueError, RecursionError) as problem:
            where = f"{problem.msg}, column {problem.colno}" if isinstance(problem, json.JSONDecodeError) else problem
            raise _refused(uri, line, f"is not valid JSON: {where}") from None
        if not isinstance(values, dict):
            raise _refused(uri, line, f"must be a JSON object, not {shown(values)}")
        yield line, values


def _csv_rows(text: str, uri: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter_of(text))
    header: list[str] = []
    rows = 0
    try:
        for cells in reader:
            if not header:
                header = [cell.strip() for cell in cells]
                if repeated := [name for name in header if name and header.count(name) > 1]:
                    raise _refused(uri, reader.line_num, f"the header names {repeated[0]!r} twice")
            elif any(cells):
                if any(cells[len(header) :]):
                    counts = f"{len(cells)} cells, the header {len(header)}"
                    raise _refused(uri, reader.line_num, f"has {counts}: put quotes around cells with commas")
                rows += 1
                yield reader.line_num, {name: cell for name, cell in zip(header, cells, strict=False) if name}
    except csv.Error as problem:
        raise _refused(uri, reader.line_num, f"is not valid CSV: {problem}") from None
    if header and not rows:
        raise _refused(uri, 1, f"is the only one: {shown(text.strip())}; the first line names the fields, such as uri")


def _delimiter_of(text: str) -> str:
    """What separates the cells: spreadsheets write semicolons where commas are decimal, or tabs."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    return "," if "," in header else next((each for each in ";\t" if each in header), ",")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it names {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def _is_text_all_through(value: Any) -> bool:
    """Whether all texts in a value can be written as UTF-8."""
    if isinstance(value, str):
        return not any("\ud800" <= each <= "\udfff" for each in value)
    if isinstance(value, dict):
        return all(_is_text_all_through(each) for each in (*value, *value.values()))
    return not isinstance(value, list) or all(map(_is_text_all_through, value))


def _refused(uri: str, line: int, problem: str) -> ConfigurationError:
    return ConfigurationError(FIELD, uri, f"line {line} {problem}")
