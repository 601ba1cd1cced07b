"""What an export starts from: a scene's PLY with its cameras, which way is up, and what the files must say of it.

A stage and `scenewright export` both make a `Source`; everything else here works on it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from scenewright_stages.backends.runtime.registry import find_backend
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.vision.gaussians.formats.foreign_ply import SplatFile, read_foreign_ply
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.geometry.cameras import Camera, look_at
from scenewright_stages.vision.types import Float64Array

Y_DOWN = np.array([0.0, -1.0, 0.0])
"""Up in a frame with OpenCV axes."""
Y_UP = np.diag([1.0, -1.0, -1.0])
"""Turns OpenCV axes (y down, z forward) into OpenGL axes (y up, z back)."""
_LEAST_AGREEMENT = 0.5
_ORBIT_VIEWS, _ORBIT_WIDTH, _ORBIT_HEIGHT, _ORBIT_DEGREES = 24, 480, 320, 60.0


@dataclass(frozen=True, eq=False)
class Source:
    """A scene to export.

    The splats stay in the file: whoever needs them reads them, and lets them go before another program starts or a
    file is read back. So memory holds one copy of the scene, however many formats are written.

    Attributes:
        splats: its PLY file.
        cameras: along its flight, in the frame of the file.
        flown: where the cameras are from: ``flight``, or ``orbit`` if nothing but the PLY is known.
        pictures: views of photographs, against which losses are measured; may be empty.
        up: (3,) unit vector in the frame of the file.
        up_from: how that is known, in words.
        copyright: who owns the scene.
        models: weights that took part: their id, revision and licence.
        notes: what the user must know of the file itself.
    """

    splats: SplatFile
    cameras: Sequence[Camera]
    flown: str
    up: Float64Array
    up_from: str
    pictures: Sequence[View] = ()
    copyright: str = ""
    models: Sequence[dict[str, str]] = ()
    notes: Sequence[str] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def level(self) -> Float64Array:
        """(3, 3) rotation of the file's frame that makes its up direction -y, as in OpenCV axes."""
        return rotation_between(self.up, Y_DOWN)


def read_source(
    path: Path,
    cameras: Sequence[Camera],
    up: str = "auto",
    pictures: Sequence[View] = (),
    copyright_text: str = "",
    stages: Iterable[StageSpec] = (),
) -> Source:
    """Reads a PLY file with what is known about it.

    Args:
        cameras: of its flight, first view first; empty if unknown, then it is circled.
        up: an axis of the file's frame such as ``-y``, or ``auto``.
        stages: the chain that made it, which names the backends.

    Raises:
        FormatError: the file holds no splats.
        OSError: it cannot be read.
    """
    splats = read_foreign_ply(path)
    direction, reason = _up(up, cameras)
    flown = "flight" if cameras else "orbit"
    return Source(
        splats,
        cameras or orbit(splats, direction),
        flown,
        direction,
        reason,
        pictures,
        copyright_text,
        models_of(stages),
        splats.notes,
    )


def models_of(stages: Iterable[StageSpec]) -> list[dict[str, str]]:
    """The weights of the backends that a chain names, each once, with their licences."""
    found: dict[str, dict[str, str]] = {}
    for stage in stages:
        for capability, name in stage.models.choices():
            facts = find_backend(capability, name)
            for weights in () if facts is None else (*facts.bundled, *facts.weights_of(None)):
                found[weights.id] = {"id": weights.id, "revision": weights.revision, "licence": weights.licence}
    return list(found.values())


def rotation_between(first: ArrayLike, second: ArrayLike) -> Float64Array:
    """(3, 3) shortest rotation that turns one unit vector into another; exact for those that are equal."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    cosine = float(a @ b)
    if cosine > 1 - 1e-12:
        return np.eye(3)
    if cosine < -1 + 1e-9:
        axis = np.eye(3)[np.abs(a).argmin()]
        axis = axis - a * (axis @ a)
        axis /= np.linalg.norm(axis)
        return np.asarray(2 * np.outer(axis, axis) - np.eye(3), np.float64)
    cross = np.cross(a, b)
    skew = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
    return np.asarray(np.eye(3) + skew + skew @ skew / (1 + cosine), np.float64)


def orbit(
    splats: SplatFile,
    up: NDArray[np.float64],
    count: int = _ORBIT_VIEWS,
    size: tuple[int, int] = (_ORBIT_WIDTH, _ORBIT_HEIGHT),
) -> list[Camera]:
    """Cameras on a circle around a scene of which nothing else is known, a little above its middle."""
    step = max(1, splats.count // 100_000)
    means = np.concatenate([part.means[::step].double().numpy() for part in splats.parts()])
    low, high = np.percentile(means, (5, 95), axis=0)
    middle, reach = (low + high) / 2, max(float(np.linalg.norm(high - low)), 1e-3)
    return circle(middle, up, reach, count, Camera.from_field_of_view(*size, _ORBIT_DEGREES))


def circle(
    middle: NDArray[np.float64], up: NDArray[np.float64], radius: float, count: int, lens: Camera
) -> list[Camera]:
    """`count` cameras that look at a point from a circle around it, 20 degrees above."""
    turn = rotation_between(Y_DOWN, up)
    found = []
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False):
        away = turn @ np.array([np.sin(angle) * 0.94, -0.34, -np.cos(angle) * 0.94])
        found.append(lens.with_pose(look_at(middle + radius * away, middle, up)))
    return found


def _up(up: str, cameras: Sequence[Camera]) -> tuple[Float64Array, str]:
    if up != "auto":
        direction = np.zeros(3)
        direction["xyz".index(up[-1])] = -1.0 if up.startswith("-") else 1.0
        return direction, f"export.up: {up}"
    if not cameras:
        return Y_DOWN.copy(), "assumed: nothing but the PLY is known"
    every = np.stack([-camera.camera_from_world[1, :3] for camera in cameras])
    mean = every.mean(axis=0)
    agreement = float(np.linalg.norm(mean))
    if agreement < _LEAST_AGREEMENT:
        return Y_DOWN.copy(), "assumed: the cameras were held in all directions"
    direction = mean / agreement
    axis = np.zeros(3)
    axis[np.abs(direction).argmax()] = np.sign(direction[np.abs(direction).argmax()])
    # Within a few degrees an axis is what the frame's maker meant.
    if float(direction @ axis) > np.cos(np.radians(6.0)):
        return axis, "an axis, as the cameras were held"
    return direction, "the mean over the cameras"


def picture_view(camera: Camera, srgb: NDArray[np.floating], mask: NDArray[np.bool_] | None = None) -> View:
    """A photograph, (H, W, 3) in [0, 1], as a view to measure against."""
    return View(
        camera,
        torch.from_numpy(np.ascontiguousarray(srgb, np.float32)),
        None if mask is None else torch.from_numpy(mask),
    )
