"""Recognises captures and folders of photographs among the files of an input, and lists them as samples.

The index step calls `list_captures` or `list_photographs` with its view of the input. A stage parses the same files
again; both see the same capture, because `read_capture` is a pure function of the files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from scenewright_stages.contract.inputs import InputView, Listed
from scenewright_stages.contract.samples import sample_id_from
from scenewright_stages.vision.places.captures.camera_files import is_image, moments, read_rig, read_transforms
from scenewright_stages.vision.places.captures.capture import MINIMUM_VIEWS, Capture, CaptureError, Read, place_of
from scenewright_stages.vision.places.captures.colmap import read_colmap
from scenewright_stages.vision.places.captures.frame import Frame, working_frame
from scenewright_stages.vision.places.captures.masks import is_mask, mask_beside

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
_FACTS = "capture.json"
"""What a person or a program says of a capture, beside its files."""


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


def list_captures(view: InputView, neighbours: bool = False) -> list[Listed] | None:
    """A sample per capture of the input, or per moment for fixed cameras; None if there are no captures.

    Attributes of a sample: ``scene`` and ``dataset`` (names), ``folder`` (below the input), ``facts`` (content of its
    ``capture.json``, if any), ``time`` (for fixed cameras), ``cameras`` (number by name) and ``shots``: name, camera
    and pose of every photograph, in order.

    Args:
        neighbours: whether a moment's sample also gets the photographs of the previous moment (for the first moment:
            the next). They are in ``others``, in the form of ``shots``; ``beside`` names that moment.
    """
    places = list(_places(list(view.keys)))
    names = _names({place.folder: _path(view, place.folder) for place in places})
    found = [listed for place in places for listed in _listed(view, place, names[place.folder], neighbours)]
    return found or None


def list_photographs(view: InputView) -> list[Listed] | None:
    """The captures of an input or, if there are none, a sample per folder of photographs with an empty ``mark``.

    Photographs in ``<folder>/images/`` belong to ``<folder>``; other files there are ignored. Their roles are always
    ``images/<name>``, as in a capture with poses.
    """
    if captures := list_captures(view):
        return captures
    folders = _folders(view.keys)
    paths = {folder: _path(view, folder) for folder in folders}
    names = _names({folder: path.parent if path.name == "images" else path for folder, path in paths.items()})
    return [_bare(view, folder, names[folder], folders[folder]) for folder in sorted(folders)] or None


def photograph_name(role: str) -> str:
    """A photograph's name in a COLMAP model: its path below ``images/``."""
    return role.removeprefix("images/")


def read_capture(mark: str, moment: str, keys: Collection[str], read: Read) -> Capture:
    """Reads the capture that the file `mark` describes, in the frame in which it is worked on (`Capture.frame`).

    Args:
        mark: the file by which it was recognised, below the capture's folder.
        moment: for fixed cameras; otherwise empty.
        keys: paths of its files.
        read: returns a file's content; KeyError if it does not exist.

    Raises:
        CaptureError: it is unusable.
    """
    capture = _masked(_read_files(mark, moment, keys, read), keys)
    return capture.in_frame(working_frame([shot.camera_from_world for shot in capture.shots], capture.points))


def _read_files(mark: str, moment: str, keys: Collection[str], read: Read) -> Capture:
    if mark.startswith("sparse/"):
        folder, _, name = mark.rpartition("/")
        return read_colmap(folder, name.endswith(".bin"), read)
    if mark == "transforms.json":
        return read_transforms(mark, keys, read)
    return read_rig(mark, moment, keys, read)


def _masked(capture: Capture, keys: Collection[str]) -> Capture:
    """The capture with the masks that lie beside photographs for which no key names one."""
    shots = [replace(shot, mask=shot.mask or mask_beside(shot.path, keys)) for shot in capture.shots]
    return replace(capture, shots=tuple(shots))


def _places(keys: list[str]) -> Iterator[Place]:
    """The captures, sorted by folder; does not search below a capture again."""
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


def _path(view: InputView, folder: str) -> PurePosixPath:
    return PurePosixPath((folder or view.uri).rstrip("/"))


def _names(paths: Mapping[str, PurePosixPath]) -> dict[str, str]:
    """The name of each folder's capture: its last component, prefixed by its parents' if two would be equal."""
    found: dict[str, str] = {}
    for parts in range(1, max((len(path.parts) for path in paths.values()), default=0) + 1):
        names = {folder: "_".join(paths[folder].parts[-parts:]) for folder in paths if folder not in found}
        times = Counter(names.values())
        found |= {folder: sample_id_from(name) for folder, name in names.items() if times[name] == 1}
    return found


def _about(view: InputView, folder: str, name: str) -> dict[str, Any]:
    """The attributes that every capture has."""
    inside = folder.count("/") > 1
    return {
        "scene": name,
        "dataset": PurePosixPath(folder.rstrip("/")).parent.name if inside else "",
        "folder": folder,
        "facts": _facts(view, folder + _FACTS),
    }


def _facts(view: InputView, key: str) -> dict[str, Any]:
    """The plain values in a capture's own description. Raises CaptureError if it is not a JSON object."""
    if key not in view.keys:
        return {}
    try:
        found = dict(json.loads(view.read(key)))
    except (TypeError, ValueError) as problem:
        raise CaptureError("Damaged", f"{key} is no object in JSON: {problem}") from problem
    return {name: value for name, value in found.items() if isinstance(value, str | int | float | bool)}


def _listed(view: InputView, place: Place, name: str, neighbours: bool) -> Iterator[Listed]:
    try:
        facts = _about(view, place.folder, name)
    except CaptureError as problem:
        yield Listed(name, rejected=(problem.reason, str(problem)))
        return
    rig = place.mark in ("cameras.json", "cameras/rgb_cameras.npz")
    times = moments(place.keys) if rig else [""]
    captures = {moment: _read(view, place, moment) for moment in times}
    for number, moment in enumerate(times):
        identity, capture = f"{name}__f{moment}" if moment else name, captures[moment]
        if isinstance(capture, CaptureError):
            yield Listed(identity, attributes=facts, rejected=(capture.reason, str(capture)))
            continue
        beside = times[number - 1 if number else 1] if neighbours and len(times) > 1 else ""
        other, needed = captures[beside] if beside else None, _needed(place, capture)
        found = {
            **facts,
            "mark": place.mark,
            "time": moment,
            "cameras": dict(capture.cameras),
            "shots": _shots(capture),
        }
        if masks := {shot.path: shot.mask.path for shot in capture.shots if shot.mask}:
            found["masks"] = masks
        if isinstance(other, Capture):
            found |= {"beside": beside, "others": _shots(other, capture.frame)}
            needed = sorted({*needed, *_needed(place, other)})
        yield Listed(identity, files={key: place.folder + key for key in needed}, attributes=found)


def _read(view: InputView, place: Place, moment: str) -> Capture | CaptureError:
    """The capture of a moment, or why it is unusable."""
    try:
        return read_capture(place.mark, moment, place.keys, lambda key: view.read(_known(view, place, key)))
    except CaptureError as problem:
        return problem


def _shots(capture: Capture, frame: Frame | None = None) -> list[list[Any]]:
    """Name, camera and pose of each shot, in a frame or in the capture's own."""
    cameras = [(frame or capture.frame).camera_from(shot.pinhole(), capture.frame) for shot in capture.shots]
    return [[shot.name, shot.camera, *place_of(camera)] for shot, camera in zip(capture.shots, cameras, strict=True)]


def _folders(keys: Collection[str]) -> dict[str, list[str]]:
    """Keys of photographs by folder, with a trailing ``/``; an ``images/`` folder counts as its parent."""
    direct: dict[str, list[str]] = {}
    pictures = [key for key in sorted(keys) if is_image(key)]
    # A folder of nothing but masks is a folder of photographs.
    for key in [each for each in pictures if not is_mask(each)] or pictures:
        direct.setdefault(key.removesuffix(PurePosixPath(key).name), []).append(key)
    found = {folder.removesuffix("images/"): own for folder, own in direct.items() if _ends_in_images(folder)}
    others = {folder: own for folder, own in direct.items() if not any(folder.startswith(each) for each in found)}
    return found | others


def _ends_in_images(folder: str) -> bool:
    return PurePosixPath(folder).name == "images"


def _bare(view: InputView, folder: str, name: str, keys: list[str]) -> Listed:
    facts = {"scene": name, "folder": folder}
    if len(keys) < MINIMUM_VIEWS:
        message = f"{len(keys)} photographs, at least {MINIMUM_VIEWS} are needed"
        return Listed(name, attributes=facts, rejected=("TooFewViews", message))
    files = {f"images/{PurePosixPath(key).name}": key for key in keys}
    roles = {_mask_role(key.removeprefix(folder)): key for key in view.keys if key.startswith(folder) and is_mask(key)}
    masks = {picture: found.path for picture in files if (found := mask_beside(picture, roles))}
    files |= {role: roles[role] for role in masks.values()}
    attributes = {**facts, "mark": "", "time": "", **({"masks": masks} if masks else {})}
    return Listed(name, files=files, attributes=attributes)


def _mask_role(inside: str) -> str:
    """A mask's role by its path in the folder: that of a photograph's own folder counts as ``images/``."""
    path = PurePosixPath(inside)
    return inside if path.parts[0] in ("masks", "images") else f"images/{path.name}"


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
    masks = [shot.mask.path for shot in capture.shots if shot.mask]
    return [*about, *(shot.path for shot in capture.shots), *masks]
