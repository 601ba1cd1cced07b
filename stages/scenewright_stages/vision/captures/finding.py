"""Recognises captures among the files of an input and makes samples of them.

The index step calls `list_captures` with its view of the input. A stage parses the same files again, so both see the
same capture: `read_capture` is a pure function of the files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from scenewright_stages.contract.inputs import InputView, Listed
from scenewright_stages.contract.samples import sample_id_from
from scenewright_stages.vision.captures.camera_files import is_image, moments, read_rig, read_transforms
from scenewright_stages.vision.captures.capture import Capture, CaptureError, Read
from scenewright_stages.vision.captures.colmap import read_colmap

_MARKS = (
    "sparse/0/images.bin",
    "sparse/0/images.txt",
    "sparse/images.bin",
    "sparse/images.txt",
    "transforms.json",
    "cameras.json",
    "cameras/rgb_cameras.npz",
)
"""Files by which a capture is recognised, the first that is there counts."""


@dataclass(frozen=True)
class Place:
    """A capture's files.

    Attributes:
        folder: below the input, with a trailing ``/``; empty for the input itself.
        mark: the file by which it was recognised, below the folder.
        keys: all files, below the folder.
    """

    folder: str
    mark: str
    keys: tuple[str, ...]


def list_captures(view: InputView) -> list[Listed] | None:
    """A sample for every capture of the input, of fixed cameras for every moment; None when there is none.

    Attributes of a sample: ``scene`` and ``dataset`` (names), ``time`` (of fixed cameras), ``cameras`` (number by
    name) and ``shots``: name, camera and place of every photograph, in order.
    """
    places = list(_places(list(view.keys)))
    found = [listed for place in places for listed in _listed(view, place)]
    return found or None


def read_capture(mark: str, moment: str, keys: Collection[str], read: Read) -> Capture:
    """The capture that the file `mark` describes.

    Args:
        mark: the file by which it was recognised, below the capture's folder.
        moment: of fixed cameras; empty for others.
        keys: paths of its files.
        read: content of a file; KeyError when there is none.

    Raises:
        CaptureError: it cannot be used.
    """
    if mark.startswith("sparse/"):
        folder, _, name = mark.rpartition("/")
        return read_colmap(folder, name.endswith(".bin"), read)
    if mark == "transforms.json":
        return read_transforms(mark, keys, read)
    return read_rig(mark, moment, keys, read)


def _places(keys: list[str]) -> Iterator[Place]:
    """The captures, sorted by folder; what lies below one is not looked at again."""
    folders: dict[str, str] = {}
    for mark in _MARKS:
        for key in keys:
            if key == mark or key.endswith("/" + mark):
                folders.setdefault(key.removesuffix(mark), mark)
    taken: list[str] = []
    for folder in sorted(folders, key=lambda each: (each.count("/"), each)):
        if not any(folder.startswith(each) for each in taken):
            taken.append(folder)
    for folder in sorted(taken):
        inside = tuple(key.removeprefix(folder) for key in keys if key.startswith(folder))
        yield Place(folder, folders[folder], inside)


def _listed(view: InputView, place: Place) -> Iterator[Listed]:
    whole = (place.folder or view.uri).rstrip("/")
    path = PurePosixPath(whole)
    name = sample_id_from(path.name)
    facts: dict[str, Any] = {"scene": name, "dataset": path.parent.name if place.folder.count("/") > 1 else ""}
    rig = place.mark in ("cameras.json", "cameras/rgb_cameras.npz")
    for moment in moments(place.keys) if rig else [""]:
        identity = f"{name}__f{moment}" if moment else name
        try:
            capture = read_capture(place.mark, moment, place.keys, lambda key: view.read(_known(view, place, key)))
        except CaptureError as problem:
            yield Listed(identity, attributes=facts, rejected=(problem.reason, str(problem)))
            continue
        yield Listed(
            identity,
            files={key: place.folder + key for key in _needed(place, capture)},
            attributes={
                **facts,
                "mark": place.mark,
                "time": moment,
                "cameras": dict(capture.cameras),
                "shots": [[shot.name, shot.camera, *shot.place()] for shot in capture.shots],
            },
        )


def _known(view: InputView, place: Place, key: str) -> str:
    if key not in place.keys:
        raise KeyError(key)
    return place.folder + key


def _needed(place: Place, capture: Capture) -> list[str]:
    """The photographs and the files that describe them."""
    beside = PurePosixPath(place.mark).parent.as_posix()
    about = [
        key
        for key in place.keys
        if key == place.mark or (beside != "." and key.startswith(f"{beside}/") and not is_image(key))
    ]
    return [*about, *(shot.path for shot in capture.shots)]
