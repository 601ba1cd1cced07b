"""Camera poses of a world: eight views at one point, and the paths that lead out of it.

View k looks 45 degrees further to the left than view k - 1. Each motion is one path, identical for every view, in units
whose length in metres the caller chooses. `in` and `up` are formulas; `left` and `right` are splines through the poses
that WorldExplorer publishes, which follow no simple formula.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from scenewright_stages.vision.geometry.cameras import Camera, invert_rigid, rigid
from scenewright_stages.vision.types import Float64Array

VIEWS = 8
VIEW_DEGREES = 60.0
MOTIONS = ("in", "left", "right", "up")
TARGETS = {"in": 45, "left": 135, "right": 135, "up": 45}

_IN_STEP = 0.0236442
_UP_FORWARD, _UP_RISE, _UP_PITCH = 0.0201185, 0.0062411, -1.23249
_KNOTS = (0, 9, 18, 27, 36, 45, 54, 63, 71, 80, 89, 98, 107, 116, 125, 134)
_YAW = (
    0, 23.76, 42.48, 58.32, 73.44, 90, 109.44, 130.32, 148.343, 166.049, 178.956, 185.408, 186.582, 184.635, 181.728,
    180.022,
)  # fmt: skip
_SIDEWAYS = {
    "left": (
        0, 0.00573, 0.01003, 0.01146, 0.0086, 0, -0.01815, -0.04489, -0.07125, -0.0986, -0.11799, -0.12735, -0.13078,
        -0.12976, -0.12571, -0.12006,
    ),
    "right": (
        0, -0.00396, -0.00692, -0.00791, -0.00593, 0, 0.01252, 0.03098, 0.04917, 0.06805, 0.08142, 0.08789, 0.09026,
        0.08955, 0.08675, 0.08286,
    ),
}  # fmt: skip
_FORWARD = {
    "left": (
        0, 0.23741, 0.46332, 0.66626, 0.83472, 0.95721, 1.02643, 1.05003, 1.04158, 1.00894, 0.96237, 0.90108, 0.81526,
        0.71076, 0.59358, 0.46972,
    ),
    "right": (
        0, 0.24027, 0.46891, 0.67433, 0.8449, 0.96901, 1.03924, 1.06334, 1.05503, 1.02232, 0.97559, 0.91404, 0.82775,
        0.72261, 0.60468, 0.48001,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Path:
    """A motion's poses relative to its start view.

    Attributes:
        yaw, pitch: (N,) degrees; positive turns right and looks up.
        offsets: (N, 3) right, up and forward, in units.
    """

    yaw: Float64Array
    pitch: Float64Array
    offsets: Float64Array

    def __len__(self) -> int:
        return len(self.yaw)


@cache
def path_of(motion: str) -> Path:
    """All targets of a motion; target 0 is the pose of the view itself.

    Raises:
        KeyError: there is no such motion.
    """
    targets = np.arange(TARGETS[motion], dtype=np.float64)
    nothing = np.zeros_like(targets)
    if motion == "in":
        return Path(nothing, nothing, np.stack([nothing, nothing, _IN_STEP * targets], axis=1))
    if motion == "up":
        offsets = np.stack([nothing, _UP_RISE * targets, _UP_FORWARD * targets], axis=1)
        return Path(nothing, _UP_PITCH * targets, offsets)
    # Not-a-knot splines, SciPy's default, reproduce the published poses to 0.014 degrees.
    yaw, sideways, forward = (
        CubicSpline(_KNOTS, values)(targets) for values in (_YAW, _SIDEWAYS[motion], _FORWARD[motion])
    )
    sign = 1.0 if motion == "right" else -1.0
    return Path(sign * yaw, nothing, np.stack([sideways, nothing, forward], axis=1))


def targets_of(motion: str, stride: int) -> tuple[int, ...]:
    """Numbers of the targets used with a stride: every stride-th one, always including the farthest."""
    return tuple(range(TARGETS[motion] - 1, -1, -stride))[::-1]


def view_camera(view: int, size: int) -> Camera:
    """One of the eight views; view 0 looks along +z from the origin."""
    return turned_camera(-45.0 * view, size)


def turned_camera(yaw: float, size: int) -> Camera:
    """A camera with a view's intrinsics at the origin, turned right by `yaw` degrees."""
    return Camera.from_field_of_view(size, size, VIEW_DEGREES, rigid(turned(yaw, 0.0).T, np.zeros(3)))


def target_cameras(view: int, motion: str, targets: tuple[int, ...], metres_per_unit: float, size: int) -> list[Camera]:
    """The cameras of some targets of a motion from a view."""
    start, path = view_camera(view, size), path_of(motion)
    found = []
    for target in targets:
        right, up, forward = path.offsets[target] * metres_per_unit
        local = rigid(turned(path.yaw[target], path.pitch[target]), np.array([right, -up, forward]))
        found.append(start.with_pose(invert_rigid(start.world_from_camera @ local)))
    return found


def turned(yaw: float, pitch: float) -> NDArray[np.float64]:
    """(3, 3) rotation of a camera that turns right by `yaw` and then looks up by `pitch`, degrees."""
    a, b = np.radians((yaw, pitch))
    about_vertical = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_sideways = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return np.asarray(about_vertical @ about_sideways)
