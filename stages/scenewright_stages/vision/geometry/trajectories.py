"""Camera paths around a photograph.

The world is the first camera's coordinate frame (OpenCV axes, metres); every path starts and ends at that pose. The
scene determines the size of a path: its radius is the extent of the scene's points, averaged over the three axes.
`through` needs no scene, because it visits given poses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, Slerp

from scenewright_stages.vision.geometry.cameras import look_at
from scenewright_stages.vision.types import Float64Array

PORTRAIT_DAMPING = 0.6  # factor of sideways motion for portrait images, whose sides are close
_VERTICAL_SHARE = 0.3  # "try not to change up and down, for floor and sky"
_ORIGINAL_SWING = 0.3  # VistaDream's "rot_ratio", which all three axes share
_TARGET_SHARE = 0.5  # distance of the look-at point ahead of the first camera, in radii
_TARGET_LEAD = 1.25  # and at least this factor of the farthest camera's distance
_NEAR_PERCENTAGE = 5.0
_CLAMP_SHARE = 0.5
_ROUNDING = 1e-12


@dataclass(frozen=True)
class ForwardClamp:
    """Forward motion was clamped: the requested motion, and the limit of half the near depth (metres)."""

    requested: float
    limit: float


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A path.

    Attributes:
        camera_from_world: (n, 4, 4) float64.
        radius: of the scene, metres.
        clamp: set if forward motion was clamped.
    """

    camera_from_world: Float64Array
    radius: float
    clamp: ForwardClamp | None = None

    def __len__(self) -> int:
        return len(self.camera_from_world)


def spiral(
    points: NDArray[np.floating],
    count: int,
    *,
    forward_ratio: float = 0.3,
    backward_ratio: float = 0.7,
    minimum_percentage: float = 5.0,
    maximum_percentage: float = 95.0,
    portrait: bool = False,
) -> Trajectory:
    """VistaDream's spiral: one loop towards the scene, then one loop behind the start.

    With s = sin(2 pi t) and the radius R, the camera is at ``x = f R s cos(2 pi t)``,
    ``y = 0.3 f R s sin(2 pi t)`` and ``z = -R s`` times the forward ratio f where z > 0 and times the
    backward ratio where z < 0, t running from 1 to 0; it looks at (0, 0, R / 2). This differs from
    VistaDream in three things: there z < 0, which moves away from the scene, is scaled by the "forward"
    ratio; both ratios act on 0.3 R; and the sideways motion is fixed at f = 0.3, so that no ratio makes it
    small. VistaDream's angle 2 pi t n equals 2 pi t at the n sampled poses. Forward motion is limited to
    half the 5th percentile of depth, so that no camera enters the near surfaces.

    Args:
        points: (N, 3) in the first camera's coordinates, metres; ignores non-finite points. Callers should leave out
            the sky.
        count: number of poses.
        minimum_percentage, maximum_percentage: percentiles between which the extent is measured.
        portrait: damp sideways motion to 60 %.

    Raises:
        ValueError: count is below 1, a ratio is negative, the percentages are out of order, or no point is finite.
    """
    _check_ratios(forward_ratio, backward_ratio)

    def positions(t: Float64Array, radius: float) -> Float64Array:
        return _spiral_positions(t, radius, forward_ratio, backward_ratio, portrait)

    return _path(points, count, positions, (minimum_percentage, maximum_percentage))


def _spiral_positions(t: Float64Array, radius: float, forward: float, backward: float, portrait: bool) -> Float64Array:
    """(n, 3) camera centres of the spiral at t in [0, 1]."""
    swing = np.sin(2 * np.pi * t)
    sideways = forward * radius * swing * np.cos(2 * np.pi * t)
    vertical = _VERTICAL_SHARE * forward * radius * swing * np.sin(2 * np.pi * t)
    depth = -radius * swing
    depth = depth * np.where(depth > 0, forward, backward)
    damping = PORTRAIT_DAMPING if portrait else 1.0
    return np.stack([damping * sideways, vertical, depth], axis=-1)


def original_spiral(
    points: NDArray[np.floating],
    count: int,
    *,
    forward_ratio: float = 0.3,
    backward_ratio: float = 0.4,
    percentages: tuple[float, float] = (5.0, 50.0),
    portrait: bool = False,
) -> Trajectory:
    """The spiral exactly as VistaDream's single-image pipeline computes it.

    With r = 0.3 R sin(2 pi t) the camera is at ``x = r cos(2 pi t)``, ``y = 0.3 r sin(2 pi t)`` and ``z = -r``
    times the "forward" ratio where z < 0, which is away from the scene, and times the "backward" ratio where z > 0.
    It looks at (0, 0, R / 2); nothing is clamped. Arguments as in `spiral`; R is measured between the percentages.
    """
    _check_ratios(forward_ratio, backward_ratio)
    _check_count(count)
    radius = scene_radius(points, percentages)
    t = np.linspace(1.0, 0.0, count) if count > 1 else np.zeros(1)
    swing = _ORIGINAL_SWING * radius * np.sin(2 * np.pi * t)
    damping = PORTRAIT_DAMPING if portrait else 1.0
    sideways = damping * swing * np.cos(2 * np.pi * t)
    vertical = _VERTICAL_SHARE * swing * np.sin(2 * np.pi * t)
    depth = -swing * np.where(swing > 0, forward_ratio, backward_ratio)
    path = np.stack([sideways, vertical, depth], axis=-1)
    path[np.abs(path) < _ROUNDING * radius] = 0.0
    return Trajectory(np.stack([look_at(at, (0.0, 0.0, _TARGET_SHARE * radius)) for at in path]), radius)


def wobble(
    points: NDArray[np.floating],
    count: int,
    *,
    forward_ratio: float = 0.3,
    backward_ratio: float = 0.7,
    percentages: tuple[float, float] = (5.0, 95.0),
    portrait: bool = False,
) -> Trajectory:
    """VistaDream's wobble: the spiral in reverse, dipping where the spiral rises; same arguments."""
    _check_ratios(forward_ratio, backward_ratio)

    def positions(t: Float64Array, radius: float) -> Float64Array:
        at = _spiral_positions(1.0 - t, radius, forward_ratio, backward_ratio, portrait)
        return at * (1.0, -1.0, 1.0)

    return _path(points, count, positions, percentages)


def rotate(points: NDArray[np.floating], count: int, *, degrees: float = 10.0) -> Trajectory:
    """The camera rotates in place: right, left and back, by at most `degrees` to either side."""
    _check_ratios(degrees)
    _check_count(count)
    t = np.linspace(0.0, 1.0, count) if count > 1 else np.zeros(1)
    angles = np.radians(degrees) * np.sin(2 * np.pi * t)
    targets = np.stack([np.sin(angles), np.zeros_like(angles), np.cos(angles)], axis=-1)
    poses = np.stack([look_at((0.0, 0.0, 0.0), target) for target in targets])
    return Trajectory(poses, scene_radius(points))


def through(camera_from_world: Sequence[Float64Array], points: NDArray[np.floating], count: int) -> Trajectory:
    """A smooth closed flight through poses, (4, 4) each, starting at the first, in greedy nearest-neighbour order.

    Positions follow a periodic cubic spline; rotations are interpolated uniformly between poses.

    Raises:
        ValueError: fewer than two different positions.
    """
    _check_count(count)
    order = _nearest_first(np.stack([np.linalg.inv(pose)[:3, 3] for pose in camera_from_world]))
    stops = [np.linalg.inv(camera_from_world[number]) for number in [*order, order[0]]]
    places = np.stack([pose[:3, 3] for pose in stops])
    steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
    if len(steps) < 2 or not (steps > 0).all():
        raise ValueError("a flight through poses needs at least two different positions")
    times = np.concatenate([[0.0], np.cumsum(steps)])
    wanted = np.linspace(0.0, times[-1], count) if count > 1 else np.zeros(1)
    world_from_camera = np.tile(np.eye(4), (count, 1, 1))
    world_from_camera[:, :3, 3] = CubicSpline(times, places, bc_type="periodic")(wanted)
    rotations = Rotation.from_matrix(np.stack([pose[:3, :3] for pose in stops]))
    world_from_camera[:, :3, :3] = Slerp(times, rotations)(wanted).as_matrix()
    return Trajectory(np.linalg.inv(world_from_camera).astype(np.float64), scene_radius(points))


def _nearest_first(places: Float64Array) -> list[int]:
    """Greedy nearest-neighbour order of (N, 3) positions from the first, without duplicates."""
    order, left = [0], list(range(1, len(places)))
    while left:
        distance = np.linalg.norm(places[left] - places[order[-1]], axis=1)
        number = left.pop(int(np.argmin(distance)))
        if distance.min() > 0:
            order.append(number)
    return order


def orbit(
    points: NDArray[np.floating],
    count: int,
    *,
    ratio: float = 0.1,
    percentages: tuple[float, float] = (5.0, 95.0),
    portrait: bool = False,
) -> Trajectory:
    """One flat loop through the first camera: right, up, left and back, always looking at the scene.

    ``x = ratio R sin(2 pi t)``, ``y = -0.3 ratio R (1 - cos(2 pi t))``; the other arguments as in `spiral`.
    """
    _check_ratios(ratio, 0.0)

    def positions(t: Float64Array, radius: float) -> Float64Array:
        damping = PORTRAIT_DAMPING if portrait else 1.0
        sideways = damping * ratio * radius * np.sin(2 * np.pi * t)
        vertical = -_VERTICAL_SHARE * ratio * radius * (1 - np.cos(2 * np.pi * t))
        return np.stack([sideways, vertical, np.zeros_like(t)], axis=-1)

    return _path(points, count, positions, percentages)


def dolly(
    points: NDArray[np.floating],
    count: int,
    *,
    forward_ratio: float = 0.1,
    backward_ratio: float = 0.1,
    percentages: tuple[float, float] = (5.0, 95.0),
) -> Trajectory:
    """Straight towards the scene, back, behind the start and back; arguments as in `spiral`.

    ``z = R sin(2 pi t)`` times the ratio of its direction.
    """
    _check_ratios(forward_ratio, backward_ratio)

    def positions(t: Float64Array, radius: float) -> Float64Array:
        depth = -radius * np.sin(2 * np.pi * t)
        depth = depth * np.where(depth > 0, forward_ratio, backward_ratio)
        return np.stack([np.zeros_like(t), np.zeros_like(t), depth], axis=-1)

    return _path(points, count, positions, percentages)


def scene_radius(points: NDArray[np.floating], percentages: tuple[float, float] = (5.0, 95.0)) -> float:
    """Mean over the axes of the extent between two percentiles of (N, 3) points, metres.

    Raises:
        ValueError: the percentages do not satisfy 0 <= lower < upper <= 100, or no point is finite.
    """
    lower, upper = percentages
    if not 0 <= lower < upper <= 100:
        raise ValueError(f"percentages {lower} and {upper} must satisfy 0 <= lower < upper <= 100")
    extent = np.percentile(_finite(points), [lower, upper], axis=0)
    return float(np.mean(extent[1] - extent[0]))


def _path(
    points: NDArray[np.floating],
    count: int,
    positions: Callable[[Float64Array, float], Float64Array],
    percentages: tuple[float, float],
) -> Trajectory:
    _check_count(count)
    radius = scene_radius(points, percentages)
    path = positions(np.linspace(1.0, 0.0, count) if count > 1 else np.zeros(1), radius)
    path[np.abs(path) < _ROUNDING * radius] = 0.0
    path, clamp = _clamped(path, _CLAMP_SHARE * float(np.percentile(_finite(points)[:, 2], _NEAR_PERCENTAGE)))
    target = (0.0, 0.0, _TARGET_SHARE * radius)
    # A camera beyond the target would turn around, so move the target to keep it ahead.
    target = (0.0, 0.0, max(target[2], _TARGET_LEAD * float(path[:, 2].max())))
    return Trajectory(np.stack([look_at(position, target) for position in path]), radius, clamp)


def _clamped(path: Float64Array, limit: float) -> tuple[Float64Array, ForwardClamp | None]:
    """Scales down all forward motion uniformly, which keeps the path smooth."""
    requested = float(path[:, 2].max())
    if requested <= limit:
        return path, None
    factor = np.where(path[:, 2] > 0, max(limit, 0.0) / requested, 1.0)
    return path * np.stack([np.ones_like(factor), np.ones_like(factor), factor], axis=-1), ForwardClamp(
        requested, limit
    )


def _check_count(count: int) -> None:
    if count < 1:
        raise ValueError(f"number of poses {count} must be at least 1")


def _check_ratios(*ratios: float) -> None:
    for ratio in ratios:
        if not (np.isfinite(ratio) and ratio >= 0):
            raise ValueError(f"motion ratio {ratio} must be 0 or more")


def _finite(points: NDArray[np.floating]) -> NDArray[np.floating]:
    flat = np.reshape(points, (-1, 3))
    finite = flat[np.isfinite(flat).all(axis=1)]
    if not len(finite):
        raise ValueError("the scene has no point with a depth")
    return finite
