"""Loads a capture's photographs at working size: undistorts and scales them, and stores them with their cameras.

Calibrations refer to the pixels as stored; what leaves this module stands upright, picture and camera alike.
Undistortion happens once, here; all later code uses pinhole cameras only. So do masks: whatever says that a pixel does
not count becomes the photograph's one validity mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.imaging.archives import save_arrays
from scenewright_stages.vision.imaging.images.integrity import damage_of
from scenewright_stages.vision.imaging.images.stored import read_stored, stored_orientation, upright_turn
from scenewright_stages.vision.places.captures.capture import Capture, CaptureError, Shot
from scenewright_stages.vision.places.captures.frame import WORLD, Frame
from scenewright_stages.vision.places.captures.names import named
from scenewright_stages.vision.places.captures.validity import alpha_validity, filled, mask_validity, undistorted
from scenewright_stages.vision.types import Mask, Uint8Array

_SIZE_TOLERANCE = 0.01
"""Photographs may have been scaled since they were calibrated, as long as their shape is the same."""


@dataclass(frozen=True, eq=False)
class Photograph:
    """One photograph of a capture, ready for use.

    Attributes:
        name: as in :class:`~scenewright_stages.vision.places.captures.capture.Shot`.
        number: of the physical camera.
        camera: pinhole, with the image's size.
        srgb: (H, W, 3) uint8; invalid pixels have the colour of the nearest valid one.
        valid: (H, W) bool, the pixels that show the scene; None if all do.
        held_out: whether the capture's own split holds it out of training.
    """

    name: str
    number: int
    camera: Camera
    srgb: Uint8Array
    valid: Mask | None = None
    held_out: bool = False

    def counted(self) -> Mask:
        """(H, W) bool: the pixels that count."""
        return np.ones(self.srgb.shape[:2], np.bool_) if self.valid is None else self.valid

    @property
    def valid_share(self) -> float:
        """Share of the pixels that count."""
        return 1.0 if self.valid is None else float(self.valid.mean())


@dataclass(frozen=True, eq=False)
class PosedPhotographs:
    """The photographs of a capture and the points of its scene.

    Attributes:
        photographs: in the capture's order.
        points, colours: (P, 3) coordinates and uint8 sRGB.
        gains: (N, 3) gains by which the colours were divided to match exposures; None if they are unmodified.
        frame: in which cameras and points are.
        left_out: numbers of photographs that are neither trained on nor measured, such as copies.
        notes: how files were read, where that is not obvious; not saved.
    """

    photographs: tuple[Photograph, ...]
    points: NDArray[np.float64]
    colours: Uint8Array
    gains: NDArray[np.float64] | None = None
    frame: Frame = WORLD
    left_out: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def held_out(self) -> list[bool]:
        """Which photographs the capture's own split holds out; all False without a split."""
        return [each.held_out for each in self.photographs]

    @property
    def cameras(self) -> list[Camera]:
        """Cameras of all photographs, in order."""
        return [each.camera for each in self.photographs]

    def leaving_out(self, numbers: Sequence[int]) -> PosedPhotographs:
        """The same photographs, of which those with these numbers are not used. All keep their numbers."""
        return replace(self, left_out=tuple(sorted({*self.left_out, *numbers})))

    def save(self, path: Path) -> None:
        """Writes an ``.npz`` file; equal captures give equal bytes."""
        arrays: dict[str, NDArray[np.generic]] = {
            "names": np.array([each.name for each in self.photographs]),
            "numbers": np.array([each.number for each in self.photographs], np.int64),
            "intrinsics": np.stack([each.camera.intrinsics for each in self.photographs]),
            "camera_from_world": np.stack([each.camera.camera_from_world for each in self.photographs]),
            "points": self.points,
            "colours": self.colours,
        }
        for number, each in enumerate(self.photographs):
            arrays[f"srgb_{number}"] = each.srgb
            if each.valid is not None:
                arrays[f"valid_{number}"] = each.valid
        if self.gains is not None:
            arrays["gains"] = self.gains
        if any(self.held_out):
            arrays["held_out"] = np.array(self.held_out)
        if not self.frame.is_world:
            arrays["frame"] = self.frame.matrix()
        if self.left_out:
            arrays["left_out"] = np.array(self.left_out, np.int64)
        save_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path) -> PosedPhotographs:
        """The inverse of :meth:`save`."""
        with np.load(path, allow_pickle=False) as arrays:
            photographs = []
            held_out = arrays.get("held_out", np.zeros(len(arrays["names"]), bool))
            for number, name in enumerate(arrays["names"]):
                srgb = arrays[f"srgb_{number}"]
                camera = Camera(
                    arrays["intrinsics"][number], srgb.shape[1], srgb.shape[0], arrays["camera_from_world"][number]
                )
                valid = arrays.get(f"valid_{number}")
                number_of, held = int(arrays["numbers"][number]), bool(held_out[number])
                photographs.append(Photograph(str(name), number_of, camera, srgb, valid, held))
            gains = arrays.get("gains")
            frame = Frame.of(arrays["frame"]) if "frame" in arrays else WORLD
            left_out = tuple(arrays["left_out"].tolist()) if "left_out" in arrays else ()
            return cls(tuple(photographs), arrays["points"], arrays["colours"], gains, frame, left_out)


def load_photographs(capture: Capture, picture: Callable[[str], Path], longest_side: int) -> PosedPhotographs:
    """All photographs of a capture, undistorted, masked and scaled.

    Args:
        picture: local path of a photograph or mask by its path in the capture.
        longest_side: of the results in pixels; smaller photographs are not resized.

    Raises:
        CaptureError: a photograph or mask cannot be read, or a shape differs from the calibration.
    """
    said: dict[str, list[str]] = {}
    photographs = tuple(_load(shot, picture, longest_side, said) for shot in capture.shots)
    notes = tuple(f"{named(files)}: {note}" for note, files in said.items())
    return PosedPhotographs(photographs, capture.points, capture.colours, frame=capture.frame, notes=notes)


def _load(shot: Shot, picture: Callable[[str], Path], longest_side: int, said: dict[str, list[str]]) -> Photograph:
    """One photograph; adds to the files of each note."""
    path, mask_path = picture(shot.path), picture(shot.mask) if shot.mask else None
    srgb, valid, notes = read_masked(shot.path, path, shot.mask, mask_path)
    for note in notes:
        file, _, text = note.partition(": ")
        said.setdefault(text, []).append(file)
    turns = upright_turn(path)
    if turns % 2 and _calibrated_upright(shot, srgb.shape[1], srgb.shape[0]):
        srgb, valid, turns = _turned(srgb, turns), None if valid is None else _turned(valid, turns), 0
    shot = _fitting(shot, srgb.shape[1], srgb.shape[0])
    camera = shot.pinhole()
    srgb, valid = undistorted(srgb, valid, shot.lens)
    if valid is not None:
        srgb = filled(srgb, valid)
    scale = min(1.0, longest_side / max(camera.width, camera.height))
    if scale < 1:
        size = max(1, round(camera.width * scale)), max(1, round(camera.height * scale))
        srgb, camera = np.asarray(cv2.resize(srgb, size, interpolation=cv2.INTER_AREA), np.uint8), camera.scaled(*size)
        # A pixel counts if all that it averages does.
        valid = (
            None if valid is None else cv2.resize(valid.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.999
        )
    if turns:
        srgb, valid = _turned(srgb, turns), None if valid is None else _turned(valid, turns)
        camera = camera.turned(turns)
    return Photograph(shot.name, shot.camera, camera, srgb, valid, shot.held_out)


def _calibrated_upright(shot: Shot, width: int, height: int) -> bool:
    """Whether the calibration refers to the upright picture: its sides are exchanged, and those of a square are not."""
    as_stored, exchanged = (
        abs(a / b * shot.lens.height / shot.lens.width - 1) for a, b in ((width, height), (height, width))
    )
    return exchanged <= _SIZE_TOLERANCE < as_stored


def _turned(plane: NDArray[Any], turns: int) -> NDArray[Any]:
    """A picture or mask after quarter turns clockwise."""
    return np.ascontiguousarray(np.rot90(plane, -turns))


def read_masked(
    name: str, path: Path, mask: str = "", mask_path: Path | None = None
) -> tuple[Uint8Array, Mask | None, tuple[str, ...]]:
    """A photograph as stored, (H, W, 3), its valid pixels by alpha channel and mask file (None if all are), and notes.

    Args:
        name: of the photograph, for messages.
        path: its local file.
        mask, mask_path: name of its mask and where that lies locally, if it has one.

    Raises:
        CaptureError: a file cannot be read, or the mask has another shape or does not say what counts.
    """
    if damage := damage_of(path):
        raise CaptureError("Unreadable", f"{name} is damaged: {damage}; copy or export it again")
    srgb = read_stored(path)
    if srgb is None:
        raise CaptureError("Unreadable", f"{name} cannot be read as a photograph")
    notes: tuple[str, ...] = ()
    valid = alpha_validity(path)
    if mask_path is not None:
        if damage := damage_of(mask_path):
            raise CaptureError("Mask", f"{mask}, the mask of {name}, is damaged: {damage}; export it again")
        shown, notes = mask_validity((mask, name), mask_path, srgb, stored_orientation(path))
        valid = shown if valid is None else valid & shown
    if valid is None or valid.all():
        return srgb, None, notes
    return filled(srgb, valid), valid, notes


def _fitting(shot: Shot, width: int, height: int) -> Shot:
    """The shot with its lens scaled to the image size."""
    across, down = width / shot.lens.width, height / shot.lens.height
    if abs(across / down - 1) > _SIZE_TOLERANCE:
        raise CaptureError(
            "Calibration",
            f"{shot.path} has {width}x{height} pixels, calibrated are {shot.lens.width}x{shot.lens.height} (width and "
            f"height, w and h, of {shot.lens.source or 'its lens'})",
        )
    if (width, height) == (shot.lens.width, shot.lens.height):
        return shot
    return replace(shot, lens=shot.lens.scaled(width, height))
