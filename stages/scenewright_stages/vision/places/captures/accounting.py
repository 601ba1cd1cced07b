"""Accounts for what a reader met in a capture: each file and key is used, or left with the reason.

Readers call :meth:`Account.use` and :meth:`Account.leave` while they read. Whatever nobody claimed is classified by its
name at the end, so a file that no reader knows is still named. The listing turns the account into one note a capture.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.notes import found_and_not_used, needs_no_note, reason_for
from scenewright_stages.vision.places.captures.capture import FARTHEST, CaptureError, Read
from scenewright_stages.vision.places.captures.masks import is_mask

_GEOMETRIC = re.compile(
    r"distort|fisheye|lens|rolling|scale|transform|rotat|transl|offset|skew|shift|ortho|project|equirect|panoram|pose"
    r"|matri|c2w|w2c|intrins|extrins|focal|^fl_|^[kps]\d|tau|principal|convention|coord|ax[ie]s|mitsuba|mirror|flip"
    r"|handed|units?$|aspect|camera_(type|angle|model)|^[fc][xy]$|^fov|^k$|^cameras$|^rig",
    re.IGNORECASE,
)
"""Names of keys that may change what a photograph shows of the scene."""


_SMALLER = re.compile(r"images_(\d+|small|half|quarter)")
_POSE_FILES = {
    "cameras/*.json": "Polycam", "corrected_cameras/*.json": "Polycam", "mesh_info.json": "Polycam",
    "*.r3d": "Record3D", "depth/*.depth": "Record3D", "conf/*.conf": "Record3D",
    "*.xml": "Metashape", "*.psx": "Metashape", "*.rcproj": "RealityCapture", "*.rsproj": "RealityScan",
    "poses_bounds.npy": "LLFF", "*_cam.txt": "MVSNet", "pair.txt": "MVSNet",
    "bundle.out": "Bundler", "bundle.rd.out": "Bundler", "*.nvm": "VisualSFM",
    "cameras_sphere.npz": "IDR", "cameras_large.npz": "IDR",
    "reconstruction.json": "OpenSfM", "camera_models.json": "OpenSfM", "*.sfm": "Meshroom",
    "frames/*.json": "ARKit", "*.p4d": "Pix4D", "*_calibrated_camera_parameters.txt": "Pix4D",
}  # fmt: skip
"""Programs by the names of their files of poses, below any folder."""


@dataclass
class Account:
    """What was used of a capture, and what was left for which reason.

    Attributes:
        used: names of files.
        left: reason by name of a file or key, in the order in which they were met.
    """

    used: set[str] = field(default_factory=set)
    left: dict[str, str] = field(default_factory=dict)

    def use(self, *names: str) -> None:
        """Files that the capture needs."""
        self.used.update(names)

    def leave(self, names: Iterable[str], reason: str | Mapping[str, str]) -> None:
        """Files or keys that are not used, for one reason or each for its own; a reason given earlier stays."""
        for name in names:
            self.left.setdefault(name, reason if isinstance(reason, str) else reason[name])

    def finish(self, keys: Iterable[str], otherwise: str) -> None:
        """Classifies by their names all files that were neither used nor left.

        Args:
            keys: of all files.
            otherwise: the reason for photographs.
        """
        for key in keys:
            if key not in self.used and key not in self.left and not needs_no_note(key):
                self.left[key] = _special(key) or _of_another_program(key) or reason_for(key, otherwise)

    def note(self) -> str:
        """One sentence on everything that was left; empty if everything was used."""
        return found_and_not_used(self.left)


def _special(key: str) -> str:
    """The reason for files that a capture may hold and that are used in other circumstances; empty for others."""
    parts = PurePosixPath(key).parts
    if _SMALLER.fullmatch(parts[0]) and len(parts) > 1:
        return "smaller copies of the photographs"
    if is_mask(key):
        return "masks without a photograph of the same name"
    stem, _, ending = parts[-1].rpartition(".")
    if ending in ("bin", "txt") and stem in ("cameras", "images", "points3D", "rigs", "frames"):
        return "a COLMAP model needs cameras, images and points3D with one ending in one folder"
    if ending == "ply":
        return "points are read where transforms.json names their file, as ply_file_path"
    if len(parts) > 1 and parts[0].lower().startswith("depth"):
        return "depth maps are read where transforms.json names them, as depth_file_path"
    return ""


def _of_another_program(key: str) -> str:
    """The reason for poses in a format that is not read, with a way to use them; empty for other files."""
    names = [part.lower() for part in PurePosixPath(key).parts[-2:]]
    tails = ("/".join(names), names[-1])
    for pattern, program in _POSE_FILES.items():
        if any(fnmatchcase(tail, pattern) for tail in tails):
            return (
                f"poses in a format of {program}, which is not read: export them as a COLMAP model or as "
                "transforms.json (nerfstudio's ns-process-data converts several formats), or estimate them"
            )
    return ""


class Keys:
    """A mapping of a JSON file, read with checked types; knows which keys were asked for.

    Args:
        data: the parsed mapping.
        where: names it in errors, such as ``transforms.json frame 3``.

    Attributes:
        data: the mapping.
        asked: keys that somebody asked for.
        nulls: keys whose value is null, which counts as missing.
    """

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, dict):
            raise CaptureError("Damaged", f"{where} is {shown(data)}; expected an object with keys")
        self.data: dict[str, Any] = data
        self.where = where
        self.asked: set[str] = set()
        self.nulls = [name for name, value in data.items() if value is None]

    def __contains__(self, name: str) -> bool:
        return self.data.get(name) is not None

    def unasked(self) -> list[str]:
        """Keys that nobody asked for."""
        return [name for name in self.data if name not in self.asked]

    def take(self, *names: str) -> None:
        """Marks keys as asked for, that another function reads."""
        self.asked.update(names)

    def text(self, name: str, default: str = "") -> str:
        """A text. Raises CaptureError for another type."""
        value = self._value(name, default)
        if not isinstance(value, str):
            raise self.refused(name, "a text")
        return value

    def number(self, name: str, default: float) -> float:
        """A finite number. Raises CaptureError for another type."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= FARTHEST:
            raise self.refused(name, "a finite number")
        return float(value)

    def matrix(self, name: str, *shapes: tuple[int, ...]) -> NDArray[np.float64]:
        """Finite numbers in nested lists. Raises CaptureError for another type or shape than the given ones."""
        self.asked.add(name)
        sizes = " or ".join("x".join(map(str, shape)) for shape in shapes) if len(shapes) < 3 else "a list of"
        expected = f"{sizes} finite numbers"
        try:
            found = np.asarray(self.data.get(name))
        except ValueError as problem:  # lists of different lengths
            raise self.refused(name, expected) from problem
        if found.dtype.kind not in "iuf" or found.shape not in shapes or not (np.abs(found) <= FARTHEST).all():
            raise self.refused(name, expected)
        return found.astype(np.float64)

    def flag(self, name: str) -> bool:
        """True or false; a missing key is false. Raises CaptureError for another type."""
        value = self._value(name, False)
        if not isinstance(value, bool | int):
            raise self.refused(name, "true or false")
        return bool(value)

    def rows(self, name: str) -> list[Any]:
        """A list; empty if missing. Raises CaptureError for another type."""
        value = self._value(name, [])
        if not isinstance(value, list):
            raise self.refused(name, "a list")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts; empty if missing. Raises CaptureError for another type."""
        values = self.rows(name)
        if not all(isinstance(each, str) for each in values):
            raise self.refused(name, "a list of texts")
        return values

    def refused(self, name: str, expected: str) -> CaptureError:
        """The error for a key of the wrong type."""
        return CaptureError("Damaged", f"{self.where}: {name} is {shown(self.data.get(name))}; expected {expected}")

    def numbers(self, name: str, most: int) -> tuple[float, ...]:
        """A list of at most so many finite numbers; empty if missing. Raises CaptureError for another type."""
        if name not in self:
            self.asked.add(name)
            return ()
        found = self.matrix(name, *((count,) for count in range(1, most + 1))) if self.rows(name) else np.zeros(0)
        return tuple(map(float, found))

    def _value(self, name: str, default: Any) -> Any:
        self.asked.add(name)
        value = self.data.get(name)
        return default if value is None else value


def shown(value: Any) -> str:
    """A value in a message, cut to a length that can be read."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def named_once(names: Collection[str], what: str) -> None:
    """Raises CaptureError if a name is there twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise CaptureError("Damaged", f"{what} names {name} twice: keep one of them")
        seen.add(name)


def refuse_geometric(keys: Keys, known: Collection[str] = ()) -> None:
    """Refuses keys that nobody asked for and that may change what the photographs show of the scene.

    Args:
        keys: of one mapping, after it was read.
        known: keys that are known to be harmless.

    Raises:
        CaptureError: there is one; reason ``UnknownKey``.
    """
    for name in keys.unasked():
        value = keys.data[name]
        if _GEOMETRIC.search(name) and name not in known and not _neutral(value):
            raise CaptureError(
                "UnknownKey",
                f"{keys.where}: {name} is {shown(value)}: this key is not known and may change the geometry; remove it "
                "if it does not, or undistort the photographs and export again",
            )


def _neutral(value: Any) -> bool:
    """Whether a value changes nothing, whatever its key means."""
    if value is None or value is False or value in ("", []):
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and value == 0


def _each_once(pairs: list[tuple[str, Any]], path: str) -> dict[str, Any]:
    named_once([name for name, _ in pairs], path)
    return dict(pairs)


def _whole(digits: str) -> int | float:
    """A whole number; infinite if no float can hold it, so that it is refused as such."""
    return int(digits) if len(digits) < 300 else float(digits)


def read_json(path: str, read: Read) -> dict[str, Any]:
    """The object in a JSON file. Raises CaptureError if it is damaged or no object."""
    try:
        data = json.loads(read(path), object_pairs_hook=lambda pairs: _each_once(pairs, path), parse_int=_whole)
    except KeyError as problem:
        raise CaptureError("Missing", f"{path} is not there") from problem
    except CaptureError:
        raise
    except (ValueError, RecursionError) as problem:
        raise CaptureError("Damaged", f"{path} is invalid JSON: {problem}") from problem
    if not isinstance(data, dict):
        raise CaptureError("Damaged", f"{path} is {shown(data)}; expected an object with keys")
    return data
