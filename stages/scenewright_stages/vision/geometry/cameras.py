"""Pinhole cameras and rigid motions.

One convention: OpenCV axes (x right, y down, z forward), metres, pixel centres at +0.5. The point
(x, y, z) in camera coordinates is seen at ``(fx * x / z + cx, fy * y / z + cy)``, and the pixel in
column i and row j covers ``[i, i + 1) x [j, j + 1)``. So the centre of a symmetric view is exactly
``(width / 2, height / 2)``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from scenewright_stages.vision.types import Float64Array

# OpenGL cameras look along -z with y up; the matrix is its own inverse.
_FLIP_Y_AND_Z = np.diag([1.0, -1.0, -1.0, 1.0])
_ROTATION_TOLERANCE = 1e-6


def _identity() -> Float64Array:
    return np.eye(4)


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera with its pose.

    Attributes:
        intrinsics: (3, 3) float64, pixels: ``[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]``.
        width, height: image size in pixels.
        camera_from_world: (4, 4) float64 rigid transform, OpenCV axes, metres.

    Raises:
        ValueError: wrong shape, size below 1, non-positive focal length, non-finite value, or a pose that is not a
            rigid motion.
    """

    intrinsics: Float64Array
    width: int
    height: int
    camera_from_world: Float64Array = field(default_factory=_identity)

    def __post_init__(self) -> None:
        object.__setattr__(self, "intrinsics", _frozen_matrix(self.intrinsics, 3, "intrinsics"))
        object.__setattr__(self, "camera_from_world", _frozen_matrix(self.camera_from_world, 4, "pose"))
        if self.width < 1 or self.height < 1:
            raise ValueError(f"camera size {self.width}x{self.height} must be at least 1x1")
        if min(self.focal) <= 0:
            raise ValueError(f"focal length {self.focal} must be positive")
        check_rigid(self.camera_from_world)

    @classmethod
    def from_field_of_view(
        cls,
        width: int,
        height: int,
        horizontal_degrees: float,
        camera_from_world: ArrayLike | None = None,
    ) -> Camera:
        """A camera with square pixels and a centred principal point.

        Raises:
            ValueError: unless 0 < horizontal_degrees < 180.
        """
        if not 0 < horizontal_degrees < 180:
            raise ValueError(f"horizontal field of view {horizontal_degrees} must lie in (0, 180) degrees")
        focal = width / 2 / np.tan(np.radians(horizontal_degrees) / 2)
        pose = np.eye(4) if camera_from_world is None else np.asarray(camera_from_world, np.float64)
        return cls(intrinsics_matrix(focal, focal, width / 2, height / 2), width, height, pose)

    @property
    def world_from_camera(self) -> Float64Array:
        """(4, 4) float64 inverse of camera_from_world."""
        return invert_rigid(self.camera_from_world)

    @property
    def focal(self) -> tuple[float, float]:
        """(fx, fy) in pixels."""
        return float(self.intrinsics[0, 0]), float(self.intrinsics[1, 1])

    @property
    def principal_point(self) -> tuple[float, float]:
        """(cx, cy) in pixels; the centre of the top left pixel is (0.5, 0.5)."""
        return float(self.intrinsics[0, 2]), float(self.intrinsics[1, 2])

    @property
    def position(self) -> Float64Array:
        """(3,) float64 camera centre in world coordinates, metres."""
        return self.world_from_camera[:3, 3]

    @property
    def field_of_view(self) -> tuple[float, float]:
        """(horizontal, vertical) angles between opposite image borders, degrees."""
        (fx, fy), (cx, cy) = self.focal, self.principal_point
        horizontal = np.arctan(cx / fx) + np.arctan((self.width - cx) / fx)
        vertical = np.arctan(cy / fy) + np.arctan((self.height - cy) / fy)
        return float(np.degrees(horizontal)), float(np.degrees(vertical))

    def scaled(self, width: int, height: int) -> Camera:
        """The same view resampled to width x height pixels."""
        factors = np.diag([width / self.width, height / self.height, 1.0])
        return replace(self, intrinsics=factors @ self.intrinsics, width=width, height=height)

    def resized(self, factor: float) -> Camera:
        """The same view at about `factor` times the size; a side has at least one pixel."""
        return self.scaled(max(1, round(self.width * factor)), max(1, round(self.height * factor)))

    def cropped(self, left: int, top: int, width: int, height: int) -> Camera:
        """The view of the pixel window that starts at (left, top); it may exceed the image."""
        intrinsics = self.intrinsics.copy()
        intrinsics[:2, 2] -= (left, top)
        return replace(self, intrinsics=intrinsics, width=width, height=height)

    def expanded(self, margin: int) -> Camera:
        """The view enlarged by `margin` pixels on every side, with the principal point shifted accordingly."""
        return self.cropped(-margin, -margin, self.width + 2 * margin, self.height + 2 * margin)

    def turned(self, turns: int) -> Camera:
        """The camera of the picture after quarter turns clockwise, as `numpy.rot90(picture, -turns)` makes it."""
        camera = self
        for _ in range(turns % 4):
            (fx, fy), (cx, cy) = camera.focal, camera.principal_point
            # A quarter turn clockwise brings what is below (y) to the left (-x), and what is right (x) down (y).
            turn = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
            intrinsics = np.array([[fy, 0.0, camera.height - cy], [0.0, fx, cx], [0.0, 0.0, 1.0]])
            camera = Camera(intrinsics, camera.height, camera.width, turn @ camera.camera_from_world)
        return camera

    def with_pose(self, camera_from_world: ArrayLike) -> Camera:
        """The camera with the same intrinsics and another pose, (4, 4)."""
        return replace(self, camera_from_world=np.asarray(camera_from_world, np.float64))


def intrinsics_matrix(fx: float, fy: float, cx: float, cy: float) -> Float64Array:
    """(3, 3) float64 pinhole matrix from pixel units."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def invert_rigid(transform: ArrayLike) -> Float64Array:
    """Inverse of a (4, 4) rigid motion, exact up to rounding of one product."""
    matrix = np.asarray(transform, np.float64)
    inverse = np.eye(4)
    inverse[:3, :3] = matrix[:3, :3].T
    inverse[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return inverse


def check_rigid(transform: ArrayLike) -> None:
    """Raises ValueError unless transform is a (4, 4) rotation and translation (no scale, no mirror)."""
    matrix = np.asarray(transform, np.float64)
    rotation = matrix[:3, :3]
    orthonormal = np.allclose(rotation @ rotation.T, np.eye(3), atol=_ROTATION_TOLERANCE)
    if not orthonormal or np.linalg.det(rotation) < 0:
        raise ValueError(f"pose has no proper rotation part (determinant {np.linalg.det(rotation):.6g})")
    if not np.allclose(matrix[3], (0, 0, 0, 1), atol=_ROTATION_TOLERANCE):
        raise ValueError(f"last row of a pose must be 0 0 0 1, not {matrix[3]}")


def rigid(rotation: ArrayLike, translation: ArrayLike) -> Float64Array:
    """(4, 4) float64 motion from a (3, 3) rotation and a (3,) translation in metres."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = translation
    return matrix


def world_from_camera_opencv(world_from_camera_opengl: ArrayLike) -> Float64Array:
    """Converts (..., 4, 4) OpenGL camera poses (y up, looking along -z) to OpenCV; the world frame is unchanged.

    NeRF-style ``transforms.json`` files contain OpenGL poses.
    """
    return np.asarray(world_from_camera_opengl, np.float64) @ _FLIP_Y_AND_Z


def world_from_camera_opengl(world_from_camera_opencv: ArrayLike) -> Float64Array:
    """Converts (..., 4, 4) OpenCV camera poses to OpenGL; inverse of `world_from_camera_opencv`."""
    return np.asarray(world_from_camera_opencv, np.float64) @ _FLIP_Y_AND_Z


def look_at(position: ArrayLike, target: ArrayLike, up: ArrayLike = (0.0, -1.0, 0.0)) -> Float64Array:
    """camera_from_world (4, 4) of a camera at position that looks at target.

    All arguments are (3,) in world coordinates, metres; up is a direction (default: -y, which is up
    in a world with OpenCV axes).

    Raises:
        ValueError: target equals position, or up is parallel to the line of sight.
    """
    origin = np.asarray(position, np.float64)
    forward = _unit(np.asarray(target, np.float64) - origin, "target equals the camera position")
    right = _unit(np.cross(forward, np.asarray(up, np.float64)), "up is parallel to the line of sight")
    rotation = np.stack([right, np.cross(forward, right), forward])
    return rigid(rotation, -rotation @ origin)


def rotation_from_quaternion(quaternion: ArrayLike) -> Float64Array:
    """(..., 3, 3) rotations of (..., 4) quaternions in wxyz order; they are normalised first.

    Raises:
        ValueError: a quaternion is zero.
    """
    q = np.asarray(quaternion, np.float64)
    norm = np.linalg.norm(q, axis=-1, keepdims=True)
    if np.any(norm < 1e-12):
        raise ValueError("a zero quaternion is not a rotation")
    w, x, y, z = np.moveaxis(q / norm, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternion_from_rotation(rotation: ArrayLike) -> Float64Array:
    """(4,) unit quaternion wxyz with w >= 0 of a (3, 3) rotation.

    Shepperd's method (1978): the largest of the four squared components is the divisor, which stays
    accurate for half turns.
    """
    r = np.asarray(rotation, np.float64)
    diagonal = np.diag(r)
    squares = np.array([np.trace(r), *diagonal])
    index = int(np.argmax(squares))
    if index == 0:
        q = np.array([1 + np.trace(r), r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    else:
        i = index - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        q = np.empty(4)
        q[0] = r[k, j] - r[j, k]
        q[1 + i] = 1 + r[i, i] - r[j, j] - r[k, k]
        q[1 + j] = r[j, i] + r[i, j]
        q[1 + k] = r[k, i] + r[i, k]
    q /= np.linalg.norm(q)
    return -q if q[0] < 0 else q


def _frozen_matrix(value: ArrayLike, size: int, name: str) -> Float64Array:
    matrix = np.array(value, np.float64)
    if matrix.shape != (size, size):
        raise ValueError(f"{name} has shape {matrix.shape}, expected {(size, size)}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{name} holds values that are not finite")
    matrix.flags.writeable = False
    return matrix


def _unit(vector: Float64Array, message: str) -> Float64Array:
    length = np.linalg.norm(vector)
    if length < 1e-12:
        raise ValueError(message)
    return vector / length
