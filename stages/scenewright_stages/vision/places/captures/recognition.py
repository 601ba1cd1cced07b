"""Recognises captures among the files of an input, by names alone.

A capture is a folder with a file that describes its cameras: a COLMAP model in one of the usual places, a
``transforms.json``, or the cameras of a rig. A folder may hold several models; which one is read is decided later,
because that needs their content.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from scenewright_stages.vision.places.captures.camera_files import is_image
from scenewright_stages.vision.places.captures.transforms import SPLITS, TRANSFORMS

RIGS = ("cameras.json", "cameras/rgb_cameras.npz")
_MODEL = re.compile(r"(?P<folder>(?:.*/)?)(?P<model>(?:(?:colmap|distorted)/)?sparse/(?:\d+/)?)images\.(?:bin|txt)")
_BARE_MODEL = re.compile(r"(?P<folder>(?:.*/)?)images\.(?:bin|txt)")
_OTHER_MARKS = (TRANSFORMS, *SPLITS.values(), *RIGS)
"""Files that describe a capture without a COLMAP model; the first that is there counts."""
_FIRST = ("sparse/0/", "sparse/")
"""Models in these places come before a ``transforms.json``; one that was made from a model elsewhere comes after it."""


@dataclass(frozen=True)
class Place:
    """A capture's files.

    Attributes:
        folder: below the input, with a trailing ``/``; empty for the input itself.
        marks: the files that describe it, below the folder: the ``images`` files of COLMAP models, or one other file.
        others: files that describe it too and are not read.
        keys: all files, below the folder.
    """

    folder: str
    marks: tuple[str, ...]
    others: tuple[str, ...]
    keys: tuple[str, ...]

    @property
    def is_rig(self) -> bool:
        """Whether fixed cameras took its photographs."""
        return self.marks[0] in RIGS


def capture_places(keys: Collection[str]) -> Iterator[Place]:
    """The captures, sorted by folder; does not search below a capture again."""
    marks: dict[str, list[str]] = {}
    for key in sorted(keys):
        if found := _marked(key, keys):
            marks.setdefault(found[0], []).append(found[1])
    taken: list[str] = []
    for folder in sorted(marks, key=lambda each: (each.count("/"), each)):
        if not any(folder.startswith(each) for each in taken):
            taken.append(folder)
    for folder in sorted(taken):
        inside = tuple(key.removeprefix(folder) for key in keys if key.startswith(folder))
        chosen, others = _ranked(marks[folder])
        yield Place(folder, chosen, others, inside)


def model_folder(mark: str) -> str:
    """The folder of a COLMAP model, by its ``images`` file."""
    return PurePosixPath(mark).parent.as_posix().removeprefix(".")


def _marked(key: str, keys: Collection[str]) -> tuple[str, str] | None:
    """The folder of the capture that a file describes, and the file below it; None for other files."""
    if match := _MODEL.fullmatch(key):
        folder = _with_pictures(match["folder"], keys)
        return folder, key.removeprefix(folder)
    if (match := _BARE_MODEL.fullmatch(key)) and f"{match['folder']}cameras{key[-4:]}" in keys:
        folder = _with_pictures(match["folder"], keys)
        return folder, key.removeprefix(folder)
    for mark in _OTHER_MARKS:
        if key == mark or key.endswith(f"/{mark}"):
            return key.removesuffix(mark), mark
    return None


def _with_pictures(folder: str, keys: Collection[str]) -> str:
    """The folder of a model if it holds pictures, else its parent if that does, else the folder itself."""
    if not folder or _holds_pictures(folder, keys):
        return folder
    parent = PurePosixPath(folder).parent.as_posix()
    above = "" if parent == "." else f"{parent}/"
    return above if _holds_pictures(above, keys) else folder


def _holds_pictures(folder: str, keys: Collection[str]) -> bool:
    """Whether pictures lie in a folder or in its ``images/``."""
    for key in keys:
        if key.startswith(folder) and is_image(key):
            inside = key.removeprefix(folder)
            if "/" not in inside or inside.startswith(("images/", "input/")):
                return True
    return False


def _ranked(marks: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The marks that are read, and those that are not: models where COLMAP writes them, else the other formats."""
    models = [mark for mark in marks if mark not in _OTHER_MARKS]
    others = sorted((mark for mark in marks if mark in _OTHER_MARKS), key=_OTHER_MARKS.index)
    usual = any(mark.startswith(_FIRST) for mark in models)
    if others and not usual:
        first = others[0]
        # NeRF-synthetic's files belong together; a model is the source of a transforms.json.
        besides = [mark for mark in others[1:] if not {first, mark} <= set(SPLITS.values())]
        return (first,), (*besides, *models)
    binary = [mark for mark in models if mark.endswith(".bin")]
    texts = [mark for mark in models if not mark.endswith(".bin") and f"{mark[:-4]}.bin" not in binary]
    chosen = sorted([*binary, *texts], key=lambda mark: (len(mark), mark))
    return tuple(chosen), (*others, *(mark for mark in models if mark not in chosen))
