"""Levels panoramas: by the pose that their file states (GPano), or by the vertical edges that they show.

A spherical camera that is held at an angle bends the horizon into a wave. Everything that assumes gravity, such as a
floor below or walls that stand, is then wrong. The pose is a turn of the whole sphere, so undoing it loses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera, rigid
from scenewright_stages.vision.places.worlds.panorama import cut_view, directions, sample
from scenewright_stages.vision.types import Float32Array, Mask

_FIELD = re.compile(rb"(?<!/)GPano:(\w+)\s*(?:=\s*[\"']|>)\s*([^\"'<]*)")
_LEVEL_DEGREES = 1.5
"""A tilt that is smaller is neither seen nor measured reliably."""
_MOST_DEGREES = 40.0
"""Largest tilt that is looked for; beyond it, other edges of a room would pass for vertical ones."""
_ON_LINE = np.sin(np.radians(1.5))
_VIEW, _VIEW_DEGREES, _VIEWS = 448, 80.0, 8
_SHORTEST = 0.09
"""Shortest edge that counts, relative to the side of a view."""
_LEAST_SHARE, _RIVAL_SHARE, _LEAST_VIEWS = 0.2, 0.75, 4
"""A vertical is clear if so much of the edges' length agrees, no other does to such a share, and in so many views."""
_APART = np.cos(np.radians(8))
_DRAWS = 3000
_SIGNS = ((1, 1), (-1, 1), (1, -1), (-1, -1))
_AGREES_DEGREES = 4.0
"""Largest angle between a stated and a measured vertical that mean the same."""


class BadPose(ValueError):  # noqa: N818 - names a state
    """The metadata of a panorama contradict themselves, or name a projection that is not read."""


@dataclass(frozen=True)
class StatedPose:
    """What the metadata of a panorama say; angles in degrees.

    Attributes:
        roll, pitch: of the camera; None if neither is stated.
        heading: compass direction of the picture's middle; None if it is not stated.
        crop: left, top, width, height of the picture in the whole panorama, and its width and height; None if it shows
            the whole sphere or nothing is stated.
    """

    tilt: tuple[float, float] | None = None
    heading: float | None = None
    crop: tuple[int, int, int, int, int, int] | None = None


def stated_pose(xmp: bytes) -> StatedPose:
    """Reads GPano metadata from a file's XMP.

    Raises:
        BadPose: a number is none, the crop does not lie in the panorama, or the projection is another one.
    """
    fields = {name.decode(): value.decode(errors="replace").strip() for name, value in _FIELD.findall(xmp)}
    projection = fields.get("ProjectionType", "equirectangular")
    if projection.lower() != "equirectangular":
        raise BadPose(f"GPano:ProjectionType is {projection!r}: only equirectangular panoramas are read; convert it")
    roll, pitch = _number(fields, "PoseRollDegrees"), _number(fields, "PosePitchDegrees")
    tilt = None if roll is None and pitch is None else (roll or 0.0, pitch or 0.0)
    return StatedPose(tilt, _number(fields, "PoseHeadingDegrees"), _crop(fields))


def _number(fields: Mapping[str, str], name: str) -> float | None:
    if not fields.get(name):
        return None
    try:
        value = float(fields[name])
    except ValueError as problem:
        raise BadPose(f"GPano:{name} is {fields[name]!r}; expected a number") from problem
    if not np.isfinite(value) or abs(value) > 100_000:
        raise BadPose(f"GPano:{name} is {fields[name]!r}; expected a number")
    return value


def _crop(fields: Mapping[str, str]) -> tuple[int, int, int, int, int, int] | None:
    names = (
        "CroppedAreaLeftPixels", "CroppedAreaTopPixels", "CroppedAreaImageWidthPixels", "CroppedAreaImageHeightPixels",
        "FullPanoWidthPixels", "FullPanoHeightPixels",
    )  # fmt: skip
    numbers = [_number(fields, name) for name in names]
    if any(each is None for each in numbers[2:]):
        return None
    left, top, width, height, whole, high = (round(each or 0) for each in numbers)
    if (width, height) == (whole, high):
        return None
    if min(left, top) < 0 or min(width, height) < 1 or left + width > whole or top + height > high:
        raise BadPose(
            f"GPano: the cropped area of {width}x{height} pixels at {left}, {top} does not lie in the whole panorama "
            f"of {whole}x{high}: correct CroppedArea... or FullPano..."
        )
    return left, top, width, height, whole, high


def placed(picture: Float32Array, crop: tuple[int, int, int, int, int, int], height: int) -> tuple[Float32Array, Mask]:
    """A panorama of `height` rows with a picture on its part of the sphere, and the pixels (H, 2 H) that it shows.

    Args:
        picture: (H, W, 3).
        crop: see :class:`StatedPose`.
        height: of the result.
    """
    left, top, width, high, whole, _ = crop
    scale = 2 * height / whole
    x, y = round(left * scale), round(top * scale)
    size = max(1, min(2 * height - x, round(width * scale))), max(1, min(height - y, round(high * scale)))
    method = cv2.INTER_AREA if size[0] <= picture.shape[1] else cv2.INTER_CUBIC
    panorama, shown = np.zeros((height, 2 * height, 3), np.float32), np.zeros((height, 2 * height), np.bool_)
    panorama[y : y + size[1], x : x + size[0]] = np.clip(cv2.resize(picture, size, interpolation=method), 0, 1)
    shown[y : y + size[1], x : x + size[0]] = True
    return panorama, shown


def unseen_filled(panorama: Float32Array, shown: Mask) -> Float32Array:
    """The panorama with what it does not show continued from the nearest colours, the more blurred the farther."""
    height, width = shown.shape
    wide, known = np.tile(panorama, (1, 3, 1)), np.tile(shown, (1, 3))
    distance, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((int(labels.max()) + 1, 3), np.float32)
    colours[labels[known]] = wide[known]
    nearest = colours[labels]
    near, far = (cv2.GaussianBlur(nearest, (0, 0), height / each) for each in (96, 16))
    share = np.clip(distance / (height / 6), 0, 1)[..., None]
    filled = np.where(known[..., None], wide, near * (1 - share) + far * share)
    return np.ascontiguousarray(filled[:, width : 2 * width], np.float32)


def stated_turn(roll: float, pitch: float) -> NDArray[np.float64]:
    """(3, 3) level_from_picture of a camera with roll and pitch, degrees.

    With growing roll the horizon turns counterclockwise in the picture; a pitch above 0 looks up.
    """
    r, p = np.radians((roll, pitch))
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    return np.asarray(about_x @ about_z)


def turn_to_level(up: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3) level_from_picture: the smallest turn that brings a direction up."""
    axis = np.cross(up, (0.0, -1.0, 0.0))
    length = np.linalg.norm(axis)
    if length < 1e-9:
        return np.eye(3)
    return np.asarray(cv2.Rodrigues(axis / length * np.arctan2(length, -up[1]))[0])


def turned_sphere(panorama: Float32Array, level_from_picture: NDArray[np.float64]) -> Float32Array:
    """The panorama (H, 2 H, C) in the level frame."""
    rays = directions(len(panorama)).astype(np.float64) @ level_from_picture
    return np.clip(sample(panorama, rays), 0, 1).astype(np.float32)


def tilt_degrees(up: NDArray[np.float64]) -> float:
    """Angle between a direction and the picture's own up."""
    return float(np.degrees(np.arccos(np.clip(-up[1], -1, 1))))


def needs_levelling(degrees: float) -> bool:
    """Whether a tilt is large enough to be undone."""
    return degrees > _LEVEL_DEGREES


def measured_up(panorama: Float32Array) -> NDArray[np.float64] | None:
    """(3,) unit direction, in the picture's frame, in which vertical edges meet; None if it is not clear.

    Edges are looked for in views all around. An edge in space and the camera span a plane; the planes of all vertical
    edges contain the vertical. The direction that most edges agree on is taken, if they lie in different views and no
    other direction comes close.
    """
    normals, lengths, views = _edges(panorama)
    if len(normals) < 2 * _LEAST_VIEWS:
        return None
    random = np.random.default_rng(0)
    first, second = random.integers(len(normals), size=(2, _DRAWS))
    drawn = np.cross(normals[first], normals[second])
    size = np.linalg.norm(drawn, axis=1)
    drawn = drawn[size > 0.1] / size[size > 0.1, None]
    drawn *= np.where(drawn[:, 1:2] > 0, -1, 1)
    drawn = drawn[-drawn[:, 1] >= np.cos(np.radians(_MOST_DEGREES))]
    if not len(drawn):
        return None
    scores = (np.abs(drawn @ normals.T) < _ON_LINE) @ lengths
    best = drawn[scores.argmax()]
    rivals = scores[drawn @ best < _APART]
    for _ in range(3):
        agreeing = np.abs(normals @ best) < _ON_LINE
        if agreeing.sum() < _LEAST_VIEWS:
            return None
        weighted = normals[agreeing] * np.sqrt(lengths[agreeing])[:, None]
        found = np.linalg.svd(weighted, full_matrices=False)[2][-1]
        best = found if found[1] < 0 else -found
    agreeing = np.abs(normals @ best) < _ON_LINE
    share = lengths[agreeing].sum() / lengths.sum()
    clear = share >= _LEAST_SHARE and rivals.max(initial=0.0) <= _RIVAL_SHARE * scores.max()
    return best if clear and len(set(views[agreeing])) >= _LEAST_VIEWS else None


def _edges(panorama: Float32Array) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Unit normals (N, 3) of the planes through straight edges, the edges' lengths in radians, and their view."""
    lens = Camera.from_field_of_view(_VIEW, _VIEW, _VIEW_DEGREES)
    detector = cv2.createLineSegmentDetector()
    normals, lengths, views = [], [], []
    for number in range(_VIEWS):
        yaw = 2 * np.pi * number / _VIEWS
        turn = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0], [np.sin(yaw), 0, np.cos(yaw)]])
        camera = lens.with_pose(rigid(turn, np.zeros(3)))
        grey = cv2.cvtColor(np.round(cut_view(panorama, camera) * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
        lines = detector.detect(grey)[0]
        if lines is None:
            continue
        ends = lines.reshape(-1, 2, 2).astype(np.float64) + 0.5
        ends = ends[np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1) > _SHORTEST * _VIEW]
        flat = (ends - camera.principal_point) / camera.focal
        rays = np.concatenate([flat, np.ones((*flat.shape[:2], 1))], axis=2) @ camera.world_from_camera[:3, :3].T
        rays /= np.linalg.norm(rays, axis=2, keepdims=True)
        crossed = np.cross(rays[:, 0], rays[:, 1])
        sine = np.linalg.norm(crossed, axis=1)
        normals.append(crossed / sine[:, None])
        lengths.append(np.arcsin(np.clip(sine, 0, 1)))
        views.append(np.full(len(sine), number))
    if not normals:
        return np.zeros((0, 3)), np.zeros(0), np.zeros(0, np.intp)
    return np.concatenate(normals), np.concatenate(lengths), np.concatenate(views)


@dataclass(frozen=True)
class Levelling:
    """How a panorama is brought level.

    Attributes:
        turn: (3, 3) level_from_picture; None if the panorama stays as it is.
        degrees: its tilt.
        source: ``level``, ``stated``, ``measured`` or ``unknown``.
        note: what a user should know; empty if nothing.
    """

    turn: NDArray[np.float64] | None
    degrees: float
    source: str
    note: str = ""


def levelling(panorama: Float32Array, stated: StatedPose) -> Levelling:
    """How to level a panorama, by its metadata and by the vertical edges in it.

    Programs do not agree on the sign of roll and pitch. Where edges show the vertical, the signs that agree with them
    are taken, and edges that no sign agrees with count more than metadata.
    """
    measured = measured_up(panorama)
    turns = [] if stated.tilt is None else [stated_turn(a * stated.tilt[0], b * stated.tilt[1]) for a, b in _SIGNS]
    ups = [turn.T @ np.array([0.0, -1.0, 0.0]) for turn in turns]
    if measured is None and stated.tilt is None:
        note = "neither metadata nor vertical edges say whether the panorama is level: it is taken to be"
        return Levelling(None, 0.0, "unknown", note)
    if measured is None:
        return _turned(turns[0], tilt_degrees(ups[0]), "stated")
    if ups:
        apart = [float(np.degrees(np.arccos(np.clip(up @ measured, -1, 1)))) for up in ups]
        best = int(np.argmin(apart))
        if apart[best] <= _AGREES_DEGREES:
            return _turned(turns[best], tilt_degrees(ups[best]), "stated")
    found = _turned(turn_to_level(measured), tilt_degrees(measured), "measured")
    if not ups or (stated.tilt == (0.0, 0.0) and found.source == "level"):
        return found
    roll, pitch = stated.tilt or (0.0, 0.0)
    said = f"its metadata say roll {roll:g} and pitch {pitch:g} degrees"
    note = f"{said}, and its vertical edges lean by {found.degrees:.0f}: the edges are followed"
    return Levelling(found.turn, found.degrees, found.source, note)


def _turned(turn: NDArray[np.float64], degrees: float, source: str) -> Levelling:
    if not needs_levelling(degrees):
        return Levelling(None, degrees, "level")
    by = "its metadata" if source == "stated" else "the vertical edges that it shows"
    return Levelling(turn, degrees, source, f"the panorama was tilted by {degrees:.0f} degrees and is levelled by {by}")
