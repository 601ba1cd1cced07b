"""Lists the objects of an input: a folder of photos with masks, one photo, or a list file.

Masks lie beside their photos as ``cup.mask.png`` or ``cup_mask.png``. A list (``.jsonl`` or ``.csv``) has one line per
object with ``uri`` and optionally ``id``, ``class``, ``mask``, ``box`` and ``points``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from scenewright_stages.contract.errors import ConfigurationError, SampleError
from scenewright_stages.contract.formats import PICTURE_ENDINGS
from scenewright_stages.contract.inputs import InputView, Listed
from scenewright_stages.contract.samples import SOURCE, sample_id_from

SUFFIXES = PICTURE_ENDINGS
MASKS = (".mask.png", "_mask.png")
LISTS = (".jsonl", ".csv")
MASK = "mask"
_NAMES = ("uri", "file_name", "image", "path")
_FIELD = "spec.input.uri"


def list_objects(view: InputView) -> list[Listed]:
    """The objects of an input, each with its class and the roster of all objects.

    Raises:
        ConfigurationError: the input is empty, or the list cannot be read.
    """
    objects = _of_list(view) if view.single.lower().endswith(LISTS) else _of_files(view)
    if not objects:
        raise ConfigurationError(_FIELD, view.uri, f"no photo found; photos end in {' '.join(SUFFIXES)}")
    roster = [[each.attributes["class"], each.attributes["title"]] for each in objects if each.rejected is None]
    distinct = [list(pair) for pair in dict.fromkeys(map(tuple, roster))]
    several = len(objects) > 1
    return [
        replace(
            each,
            attributes={**each.attributes, "home": f"objects/{each.id}" if several else "", "roster": distinct},
        )
        for each in objects
    ]


def class_names(roster: Sequence[Sequence[str]], object_name: str) -> list[str]:
    """Class names in order of first appearance.

    Args:
        roster: class (empty if not given) and title of every object.
        object_name: default for a missing class; if empty, the object's title is used.
    """
    return list(dict.fromkeys(class_name(given, title, object_name) for given, title in roster))


def class_name(given: str, title: str, object_name: str) -> str:
    """The class of one object."""
    return given or object_name or title


def _of_files(view: InputView) -> list[Listed]:
    keys = [key for key in view.keys if not any(part.startswith(".") for part in key.split("/"))]
    photos = [view.single] if view.single else [key for key in keys if is_photo(key)]
    return [_listed(key, {SOURCE: key, **_mask_beside(key, keys)}, {}) for key in sorted(photos)]


def is_photo(key: str) -> bool:
    """Whether a key has the suffix of a photo."""
    return key.lower().endswith(SUFFIXES) and not key.lower().endswith(MASKS)


def _mask_beside(key: str, keys: Sequence[str]) -> dict[str, str]:
    stem = key.rpartition(".")[0]
    return next(({MASK: stem + ending} for ending in MASKS if stem + ending in keys), {})


def _of_list(view: InputView) -> list[Listed]:
    found = []
    for number, row in enumerate(_rows(view), start=1):
        photo = next((str(row[name]) for name in _NAMES if row.get(name)), "")
        if not photo:
            raise ConfigurationError(_FIELD, view.single, f"line {number} names no photo; give it as uri")
        files = {SOURCE: _uri(photo, view, number)}
        if row.get(MASK):
            files[MASK] = _uri(str(row[MASK]), view, number)
        found.append(_listed(photo, files, row))
    names = [each.id for each in found]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ConfigurationError(_FIELD, view.single, f"names {repeated[0]!r} twice; give every line its own id")
    return found


def _rows(view: InputView) -> list[Mapping[str, Any]]:
    try:
        text = view.read(view.single).decode("utf-8-sig")
        if view.single.lower().endswith(".csv"):
            return [row for row in csv.DictReader(io.StringIO(text)) if any(row.values())]
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as problem:
        raise ConfigurationError(_FIELD, view.single, f"is not a list of photos: {problem}") from None
    if not all(isinstance(row, dict) for row in rows):
        raise ConfigurationError(_FIELD, view.single, "every line must be a JSON object")
    return rows


def _uri(name: str, view: InputView, line: int) -> str:
    """Resolves a name in a line, relative to the list, to an absolute URI.

    Raises:
        ConfigurationError: a list in an object store names local files.
    """
    local = view.uri.startswith("file://")
    if not local and (name.startswith(("/", "file://")) or ".." in name.split("/")):
        raise ConfigurationError(_FIELD, view.single, f"line {line} names {name!r}: this list may only name objects")
    if "://" in name:
        return name
    if name.startswith("/"):
        return "file://" + quote(name)
    return f"{view.uri.rstrip('/')}/{quote(name) if local else name}"


def _listed(photo: str, files: Mapping[str, str], row: Mapping[str, Any]) -> Listed:
    stem = photo.rpartition("/")[2].rpartition(".")[0] or "object"
    title = stem.replace("_", " ").replace("-", " ").strip()
    attributes: dict[str, Any] = {"class": str(row.get("class") or ""), "title": title or "object"}
    try:
        name = sample_id_from(str(row.get("id") or stem)).replace("/", "_")
        attributes |= _hints(row)
    except SampleError as problem:
        return Listed("unnamed", files, attributes, rejected=(problem.reason, problem.message))
    return Listed(name, files, attributes)


def _hints(row: Mapping[str, Any]) -> dict[str, Any]:
    """Box and points of a line, as fractions of the image.

    Raises:
        SampleError: they are invalid (reason ``BadEntry``).
    """
    found: dict[str, Any] = {}
    if row.get("box"):
        box = _numbers(row["box"], "box")
        if len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
            raise SampleError("BadEntry", "box must be left, top, right, bottom as shares of the picture")
        found["box"] = box
    if row.get("points"):
        points = row["points"] if isinstance(row["points"], list) else json.loads(str(row["points"]))
        pairs = [_numbers(point, "points") for point in points]
        if not all(len(pair) in (2, 3) and 0 <= pair[0] <= 1 and 0 <= pair[1] <= 1 for pair in pairs):
            raise SampleError("BadEntry", "points must be pairs x, y as shares of the picture; a third 0 is beside it")
        found["points"] = pairs
    return found


def _numbers(value: Any, name: str) -> list[float]:
    parts = value.split(",") if isinstance(value, str) else value
    try:
        return [float(part) for part in parts]
    except (TypeError, ValueError):
        raise SampleError("BadEntry", f"{name} must be numbers, not {value!r}") from None
