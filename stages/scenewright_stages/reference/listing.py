"""Lists the objects of an input: a folder of photos with masks, one photo, or a list file.

Masks lie beside their photos as ``cup.mask.png``, ``cup_mask.jpg`` or the like, or in a folder ``masks``. A list
(``.jsonl`` or ``.csv``) has one line per object with ``uri`` and optionally ``id``, ``class``, ``mask``, ``box``,
``points``, ``maskPolarity`` and ``maskClass``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from scenewright_stages.contract.errors import ConfigurationError, SampleError
from scenewright_stages.contract.inputs import InputView, Listed
from scenewright_stages.contract.lists import (
    FIELD,
    URI_FIELDS,
    Row,
    file_in,
    id_in,
    named_file,
    read_rows,
    refuse_misspelt,
    refuse_repeated,
    unread_fields,
)
from scenewright_stages.contract.naming import paired_files, stem_of, unique_ids
from scenewright_stages.contract.samples import SOURCE
from scenewright_stages.photographs.params import MASK_ENDINGS, MASK_FOLDERS, PICTURE_SUFFIXES, MaskEntry

LISTS = (".jsonl", ".csv")
MASK = "mask"
_SIDECARS, _FOLDERS = {MASK: MASK_ENDINGS}, {MASK: MASK_FOLDERS}
_FIELDS = frozenset({*URI_FIELDS, "id", "class", MASK, "box", "points", "maskPolarity", "maskClass"})
_UNWRITABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that readers of YAML refuse or take for the end of a line, as do readers of a list with a name a line."""


def list_objects(view: InputView) -> list[Listed]:
    """The objects of an input, each with its class and the roster of all objects.

    Raises:
        ConfigurationError: the input is empty, or the list cannot be read.
    """
    objects = _of_list(view) if view.single.lower().endswith(LISTS) else _of_files(view)
    if not objects:
        raise ConfigurationError(FIELD, view.uri, f"no photo found; photos end in {' '.join(PICTURE_SUFFIXES)}")
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
    files = paired_files(view.keys, PICTURE_SUFFIXES, _SIDECARS, _FOLDERS)
    if view.single:
        # A single object's id must not depend on its neighbours.
        files = {key: found for key, found in files.items() if key == view.single} or {
            view.single: {SOURCE: view.single}
        }
    ids = unique_ids(list(files), flat=True)
    # Files of a folder that no object uses are named; what lies beside a single photo is none of its business.
    accounted = frozenset(view.keys if view.single else ())
    return [replace(_listed(key, ids[key], found, None), accounted=accounted) for key, found in files.items()]


def is_photo(key: str) -> bool:
    """Whether a key has the suffix of a photo."""
    return key.lower().endswith(PICTURE_SUFFIXES) and not key.lower().endswith(MASK_ENDINGS)


def _of_list(view: InputView) -> list[Listed]:
    rows = read_rows(view.read(view.single), view.single)
    refuse_misspelt(rows, _FIELDS, view.single)
    photos = [named_file(row, view.single) for row in rows]
    given = [id_in(row, view.single) for row in rows]
    # Append a suffix, because an id drops everything after the last dot.
    names = [f"{own}.id" if own else photo for own, photo in zip(given, photos, strict=True)]
    refuse_repeated(rows, names, view.single)
    ids = unique_ids(names, flat=True)
    found = []
    for row, photo, name in zip(rows, photos, names, strict=True):
        files = {SOURCE: _uri(photo, view, row.line)}
        if mask := file_in(row, MASK, view.single):
            files[MASK] = _uri(mask, view, row.line)
        found.append(_listed(photo, ids[name], files, row))
    if found:
        found[0] = replace(found[0], notes=(*found[0].notes, *unread_fields(rows, _FIELDS)))
    return found


def _uri(name: str, view: InputView, line: int) -> str:
    """Resolves a name in a line, relative to the list, to an absolute URI.

    Raises:
        ConfigurationError: a list in an object store names local files.
    """
    local = view.uri.startswith("file://")
    if not local and (name.startswith(("/", "file://")) or ".." in name.split("/")):
        raise ConfigurationError(FIELD, view.single, f"line {line} names {name!r}: this list may only name objects")
    if "://" in name:
        return name
    if name.startswith("/"):
        return "file://" + quote(name)
    return f"{view.uri.rstrip('/')}/{quote(name) if local else name}"


def _listed(photo: str, sample_id: str, files: Mapping[str, str], row: Row | None) -> Listed:
    """An object; rejected if what its line says cannot be used."""
    stem = stem_of(photo.rpartition("/")[2])
    title = _UNWRITABLE.sub(" ", stem.replace("_", " ").replace("-", " ")).strip()
    attributes: dict[str, Any] = {"class": "", "title": title or "object"}
    if not sample_id:
        rejected = ("BadSampleId", f"{photo!r} gives no usable id; rename it, or give it an id in a list")
        return Listed(f"unnamed-{row.line if row else 1}", files, attributes, rejected=rejected)
    if row is not None:
        try:
            attributes |= {"class": _class_in(row), **_hints(row)}
        except SampleError as problem:
            return Listed(sample_id, files, attributes, rejected=(problem.reason, problem.message))
    return Listed(sample_id, files, attributes)


def _class_in(row: Row) -> str:
    name = row.text("class")
    if found := _UNWRITABLE.search(name):
        raise row.bad("class", f"holds {found[0]!r}, which readers of YAML and of name lists do not take")
    return name


def _hints(row: Row) -> dict[str, Any]:
    """Box and points of a line, as fractions of the image, and how its mask is read.

    Raises:
        SampleError: they are invalid (reason ``BadEntry``).
    """
    found: dict[str, Any] = {}
    if "box" in row.values:
        box = row.numbers("box")
        if len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
            raise row.bad("box", "must be left, top, right, bottom as shares of the picture")
        found["box"] = box
    if "points" in row.values:
        found["points"] = _points_in(row)
    for field, name in (("maskPolarity", "mask_polarity"), ("maskClass", "mask_class")):
        if field in row.values:
            value = row.values[field]
            try:
                checked = MaskEntry.model_validate({field: int(value) if str(value).isdigit() else value})
            except ValueError:
                raise row.bad(field, "must be white, black or auto" if "Pol" in field else "must be a number") from None
            found[name] = getattr(checked, name)
    return found


def _points_in(row: Row) -> list[list[float]]:
    """Points: a list of pairs, its JSON as text, or one pair as text."""
    points = row.values["points"]
    if isinstance(points, str):
        try:
            points = json.loads(points if points.lstrip().startswith("[") else f"[[{points}]]")
        except (ValueError, RecursionError):
            raise row.bad("points", "must be pairs x, y such as [[0.5, 0.5]]") from None
    if not isinstance(points, list) or not points:
        raise row.bad("points", "must be pairs x, y such as [[0.5, 0.5]]")
    pairs = [row.numbers("points", point) for point in points]
    if not all(len(pair) in (2, 3) and 0 <= pair[0] <= 1 and 0 <= pair[1] <= 1 for pair in pairs):
        raise row.bad("points", "must be pairs x, y as shares of the picture; a third 0 is beside it")
    return pairs
