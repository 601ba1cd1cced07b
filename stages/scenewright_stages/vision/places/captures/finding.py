"""Lists the captures and folders of photographs of an input as samples.

The index step calls `list_captures` or `list_photographs` with its view of the input. A stage parses the same files
again; both see the same capture, because `read_capture` is a pure function of the files. Whatever a capture holds and
does not use is named in the sample's note.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from scenewright_stages.contract.inputs import InputView, Listed
from scenewright_stages.vision.places.captures.accounting import Account
from scenewright_stages.vision.places.captures.bare import AUXILIARY, list_bare, sample_names
from scenewright_stages.vision.places.captures.camera_files import is_image, moments, read_rig
from scenewright_stages.vision.places.captures.capture import Capture, CaptureError, Read, place_of
from scenewright_stages.vision.places.captures.colmap import MODEL_FILES, image_folder, read_colmap, read_poses
from scenewright_stages.vision.places.captures.frame import Frame, working_frame
from scenewright_stages.vision.places.captures.masks import mask_beside, unmasked_note
from scenewright_stages.vision.places.captures.recognition import RIGS, Place, capture_places, model_folder
from scenewright_stages.vision.places.captures.transforms import SPLITS, TRANSFORMS, read_transforms

_FACTS = "capture.json"
"""What a person or a program says of a capture, beside its files."""
_SAME_POSES = ("rigs", "frames")
"""Files of COLMAP 3.12 and later; ``images`` holds the same poses."""


def list_captures(view: InputView, neighbours: bool = False) -> list[Listed] | None:
    """A sample per capture of the input, or per moment for fixed cameras; None if there are no captures.

    Attributes of a sample: ``scene`` and ``dataset`` (names), ``folder`` (below the input), ``facts`` (content of its
    ``capture.json``, if any), ``time`` (for fixed cameras), ``cameras`` (number by name) and ``shots``: name, camera
    and pose of every photograph, in order.

    Args:
        neighbours: whether a moment's sample also gets the photographs of the previous moment (for the first moment:
            the next). They are in ``others``, in the form of ``shots``; ``beside`` names that moment.
    """
    places = list(capture_places(list(view.keys)))
    names = sample_names({place.folder: PurePosixPath((place.folder or view.uri).rstrip("/")) for place in places})
    found = [listed for place in places for listed in _listed(view, place, names[place.folder], neighbours)]
    return found or None


def list_photographs(view: InputView) -> list[Listed] | None:
    """The captures of an input or, if there are none, its folders of photographs and its videos without poses."""
    return (None if view.single else list_captures(view)) or list_bare(view)


def is_photograph(role: str) -> bool:
    """Whether the file of a role is a photograph."""
    return is_image(role) and not role.startswith(AUXILIARY)


def path_of(role: str) -> str:
    """The path below the capture's folder of the file with a role."""
    return role.removeprefix(AUXILIARY)


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
    try:
        capture = _masked(_read_files(mark, moment, keys, read), keys)
    except CaptureError as problem:
        if mark in str(problem):
            raise
        where = f"{mark}: {moment}" if moment else mark
        raise CaptureError(problem.reason, f"{where}: {problem}") from problem
    return capture.in_frame(working_frame([shot.camera_from_world for shot in capture.shots], capture.points))


def _read_files(mark: str, moment: str, keys: Collection[str], read: Read) -> Capture:
    if mark in RIGS:
        return read_rig(mark, moment, keys, read)
    if mark in (TRANSFORMS, *SPLITS.values()):
        return read_transforms(mark, keys, read)
    return read_colmap(model_folder(mark), mark.endswith(".bin"), read, keys)


def _masked(capture: Capture, keys: Collection[str]) -> Capture:
    """The capture with the masks that lie beside photographs for which no key names one."""
    shots = [replace(shot, mask=shot.mask or mask_beside(shot.path, keys)) for shot in capture.shots]
    notes = (*capture.notes, *unmasked_note({shot.path: shot.mask for shot in shots}))
    return replace(capture, shots=tuple(shots), notes=notes)


def _listed(view: InputView, place: Place, name: str, neighbours: bool) -> Iterator[Listed]:
    """The samples of one capture; the first has the note on everything that is not used."""
    account, everything = Account(), frozenset(place.folder + key for key in place.keys)
    facts: dict[str, Any] = {"scene": name, "dataset": _dataset(place.folder), "folder": place.folder}
    try:
        facts["facts"] = _facts(view, place, account)
        mark = _chosen(view, place, account)
    except CaptureError as problem:
        yield Listed(name, attributes=facts, rejected=(problem.reason, str(problem)), accounted=everything)
        return
    times = moments(place.keys) if place.is_rig else [""]
    captures = {moment: _read(view, place, mark, moment) for moment in times}
    _account(place, mark, [each for each in captures.values() if isinstance(each, Capture)], account)
    note = account.note()
    for number, moment in enumerate(times):
        identity, capture = f"{name}__f{moment}" if moment else name, captures[moment]
        notes = (note,) if note and not number else ()
        if isinstance(capture, CaptureError):
            rejected = capture.reason, str(capture)
            yield Listed(identity, attributes=facts, rejected=rejected, notes=notes, accounted=everything)
            continue
        notes = (*notes, *capture.notes)
        beside = times[number - 1 if number else 1] if neighbours and len(times) > 1 else ""
        other, needed = captures[beside] if beside else None, _needed(place, mark, capture)
        found = {
            **facts,
            "mark": mark,
            "time": moment,
            "cameras": dict(capture.cameras),
            "shots": _shots(capture),
        }
        if masks := {shot.path: shot.mask for shot in capture.shots if shot.mask}:
            found["masks"] = masks
        if isinstance(other, Capture):
            found |= {"beside": beside, "others": _shots(other, capture.frame)}
            needed = sorted({*needed, *_needed(place, mark, other)})
        files = {role: place.folder + path_of(role) for role in needed}
        yield Listed(identity, files=files, attributes=found, notes=notes, accounted=everything)


def _dataset(folder: str) -> str:
    return PurePosixPath(folder.rstrip("/")).parent.name if folder.count("/") > 1 else ""


def _facts(view: InputView, place: Place, account: Account) -> dict[str, Any]:
    """The plain values in a capture's own description. Raises CaptureError if it is not a JSON object."""
    if _FACTS not in place.keys:
        return {}
    account.use(_FACTS)
    key = place.folder + _FACTS
    try:
        found = dict(json.loads(view.read(key)))
    except (TypeError, ValueError, RecursionError) as problem:
        raise CaptureError("Damaged", f"{key} is no object in JSON: {problem}") from problem
    plain = {name: value for name, value in found.items() if isinstance(value, str | int | float | bool)}
    account.leave(
        (f"{_FACTS}: {name}" for name in found if name not in plain), "only texts, numbers and flags are facts"
    )
    return plain


def _chosen(view: InputView, place: Place, account: Account) -> str:
    """The file that describes a capture; of several COLMAP models that with most of its photographs.

    Raises:
        CaptureError: there are several models, and none can be read.
    """
    if len(place.marks) == 1:
        return place.marks[0]
    counts: dict[str, int] = {}
    problems: dict[str, str] = {}
    for mark in place.marks:
        try:
            names = [name for name, _, _ in read_poses(model_folder(mark), mark.endswith(".bin"), _reader(view, place))]
        except CaptureError as problem:
            problems[mark] = str(problem)
            continue
        images = image_folder(names, place.keys)
        counts[mark] = len({name for name in names if f"{images}{name}" in place.keys})
    if not counts:
        raise CaptureError("Damaged", "; ".join(problems.values()))
    best = max(counts, key=lambda mark: counts[mark])
    folder = model_folder(best) or "the model"
    for mark, count in counts.items():
        if mark != best:
            reason = f"a sub-model with {count} of the photographs; {folder} has {counts[best]}"
            account.leave(_model_files(place, mark), reason)
    for mark, damage in problems.items():
        account.leave(_model_files(place, mark), f"damaged: {damage}")
    return best


def _read(view: InputView, place: Place, mark: str, moment: str) -> Capture | CaptureError:
    """The capture of a moment, or why it is unusable."""
    try:
        return read_capture(mark, moment, place.keys, _reader(view, place))
    except CaptureError as problem:
        return problem


def _reader(view: InputView, place: Place) -> Read:
    def read(key: str) -> bytes:
        if key not in place.keys:
            raise KeyError(key)
        return view.read(place.folder + key)

    return read


def _shots(capture: Capture, frame: Frame | None = None) -> list[list[Any]]:
    """Name, camera and pose of each shot, in a frame or in the capture's own."""
    cameras = [(frame or capture.frame).camera_from(shot.pinhole(), capture.frame) for shot in capture.shots]
    return [[shot.name, shot.camera, *place_of(camera)] for shot, camera in zip(capture.shots, cameras, strict=True)]


def _needed(place: Place, mark: str, capture: Capture) -> list[str]:
    """Roles of the photographs and of the files that describe them."""
    beside = PurePosixPath(mark).parent.as_posix()
    about = [
        key
        for key in place.keys
        if key == mark or (beside != "." and key.startswith(f"{beside}/") and not is_image(key))
    ]
    if beside == "." and _is_model(mark):
        about = _model_files(place, mark)
    extra = [shot.mask for shot in capture.shots if shot.mask] + list(capture.files)
    return [*about, *(shot.path for shot in capture.shots), *(AUXILIARY + key for key in dict.fromkeys(extra))]


def _is_model(mark: str) -> bool:
    return PurePosixPath(mark).stem == "images"


def _model_files(place: Place, mark: str) -> list[str]:
    """The files of the COLMAP model with this ``images`` file."""
    folder, ending = f"{model_folder(mark)}/".removeprefix("/"), PurePosixPath(mark).suffix
    files = [f"{folder}{name}{ending}" for name in (*MODEL_FILES, *_SAME_POSES)]
    return [key for key in files if key in place.keys]


def _account(place: Place, mark: str, captures: Sequence[Capture], account: Account) -> None:
    """Accounts for every file of a capture."""
    for capture in captures:
        account.use(*(path_of(role) for role in _needed(place, mark, capture) if not _unknown_beside(role, mark)))
        account.leave(capture.left, capture.left)
    if _is_model(mark):
        account.use(*_model_files(place, mark))
    for other in place.others:
        files = _model_files(place, other) if _is_model(other) else [other]
        account.leave((key for key in files if key not in account.used), f"{mark} describes the capture")
    if captures:
        account.finish(place.keys, f"photographs without a pose in {mark}")


def _unknown_beside(role: str, mark: str) -> bool:
    """Whether a file only travels with a model: it lies in its folder, and the reader does not know it."""
    if not _is_model(mark) or is_photograph(role) or role.startswith(AUXILIARY):
        return False
    return PurePosixPath(role).stem not in (*MODEL_FILES, *_SAME_POSES) or not role.endswith(PurePosixPath(mark).suffix)
