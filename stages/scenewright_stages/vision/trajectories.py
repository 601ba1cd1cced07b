"""Camera paths around a photograph.

The world is the first camera's coordinate frame (OpenCV axes, metres): every path starts and ends there,
unmoved. A path is sized by the scene: its radius is the extent of the scene's points, averaged over the
three axes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.cameras import look_at

Float64Array = NDArray[np.float64]


PORTRAIT_DAMPING = 0.6  # sideways motion of portrait images, whose sides are close
_VERTICAL_SHARE = 0.3  # "try not to change up and down, for floor and sky"
_TARGET_SHARE = 0.5  # the cameras look at this share of the radius ahead of the first one
_TARGET_LEAD = 1.25  # and at least this much farther than the camera that goes farthest
_NEAR_PERCENTAGE = 5.0
_CLAMP_SHARE = 0.5
_ROUNDING = 1e-12


@dataclass(frozen=True)
class ForwardClamp:
    """Forward motion was cut down: what was asked for, and the limit, half the near depth (metres)."""

    requested: float
    limit: float


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A path.

    Attributes:
        camera_from_world: (n, 4, 4) float64.
        radius: of the scene, metres.
        clamp: set if forward motion was cut down.
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
    """VistaDream's spiral: out along one loop towards the scene, back along the other behind the start.

    With s = sin(2 pi t) and the radius R, the camera is at ``x = f R s cos(2 pi t)``,
    ``y = 0.3 f R s sin(2 pi t)`` and ``z = -R s`` times the forward ratio f where z > 0 and times the
    backward ratio where z < 0, t running from 1 to 0; it looks at (0, 0, R / 2). This differs from
    VistaDream in three things: there z < 0, which moves away from the scene, is scaled by the "forward"
    ratio; both ratios act on 0.3 R; and the sideways motion is fixed at f = 0.3, so that no ratio makes it
    small. VistaDream's angle 2 pi t n equals 2 pi t at the n sampled poses. Forward motion is limited to
    half the 5th percentile of depth, so that no camera enters the near surfaces.

    Args:
        points: (N, 3) in the first camera's coordinates, metres; not finite ones are left out, as the
            caller should the sky.
        count: number of poses.
        minimum_percentage, maximum_percentage: percentiles between which the extent is measured.
        portrait: damp sideways motion to 60 %.

    Raises:
        ValueError: if count is below 1, a ratio negative, the percentages out of order or no point finite.
    """
    _check_ratios(forward_ratio, backward_ratio)

    def positions(t: Float64Array, radius: float) -> Float64Array:
        swing = np.sin(2 * np.pi * t)
        sideways = forward_ratio * radius * swing * np.cos(2 * np.pi * t)
        vertical = _VERTICAL_SHARE * forward_ratio * radius * swing * np.sin(2 * np.pi * t)
        depth = -radius * swing
        depth = depth * np.where(depth > 0, forward_ratio, backward_ratio)
        damping = PORTRAIT_DAMPING if portrait else 1.0
        return np.stack([damping * sideways, vertical, depth], axis=-1)

    return _path(points, count, positions, (minimum_percentage, maximum_percentage))


def orbit(points: NDArray[np.floating], count: int, *, ratio: float = 0.1, portrait: bool = False) -> Trajectory:
    """One flat loop through the first camera: right, up, left and back, always looking at the scene.

    ``x = ratio R sin(2 pi t)``, ``y = -0.3 ratio R (1 - cos(2 pi t))``; the other arguments as in `spiral`.
    """
    _check_ratios(ratio, 0.0)

    def positions(t: Float64Array, radius: float) -> Float64Array:
        damping = PORTRAIT_DAMPING if portrait else 1.0
        sideways = damping * ratio * radius * np.sin(2 * np.pi * t)
        vertical = -_VERTICAL_SHARE * ratio * radius * (1 - np.cos(2 * np.pi * t))
        return np.stack([sideways, vertical, np.zeros_like(t)], axis=-1)

    return _path(points, count, positions, (5.0, 95.0))


def dolly(
    points: NDArray[np.floating], count: int, *, forward_ratio: float = 0.1, backward_ratio: float = 0.1
) -> Trajectory:
    """Straight towards the scene, back, behind the start and back; arguments as in `spiral`.

    ``z = R sin(2 pi t)`` times the ratio of its direction.
    """
    _check_ratios(forward_ratio, backward_ratio)

    def positions(t: Float64Array, radius: float) -> Float64Array:
        depth = -radius * np.sin(2 * np.pi * t)
        depth = depth * np.where(depth > 0, forward_ratio, backward_ratio)
        return np.stack([np.zeros_like(t), np.zeros_like(t), depth], axis=-1)

    return _path(points, count, positions, (5.0, 95.0))


def scene_radius(points: NDArray[np.floating], percentages: tuple[float, float] = (5.0, 95.0)) -> float:
    """Mean over the axes of the extent between two percentiles of (N, 3) points, metres.

    Raises:
        ValueError: if the percentages are not 0 <= lower < upper <= 100 or no point is finite.
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
    if count < 1:
        raise ValueError(f"number of poses {count} must be at least 1")
    radius = scene_radius(points, percentages)
    path = positions(np.linspace(1.0, 0.0, count) if count > 1 else np.zeros(1), radius)
    path[np.abs(path) < _ROUNDING * radius] = 0.0
    path, clamp = _clamped(path, _CLAMP_SHARE * float(np.percentile(_finite(points)[:, 2], _NEAR_PERCENTAGE)))
    target = (0.0, 0.0, _TARGET_SHARE * radius)
    # A camera beyond the target would turn round; the target is moved on so that it stays ahead.
    target = (0.0, 0.0, max(target[2], _TARGET_LEAD * float(path[:, 2].max())))
    return Trajectory(np.stack([look_at(position, target) for position in path]), radius, clamp)


def _clamped(path: Float64Array, limit: float) -> tuple[Float64Array, ForwardClamp | None]:
    """Forward motion scaled down as a whole, which keeps the path smooth."""
    requested = float(path[:, 2].max())
    if requested <= limit:
        return path, None
    factor = np.where(path[:, 2] > 0, max(limit, 0.0) / requested, 1.0)
    return path * np.stack([np.ones_like(factor), np.ones_like(factor), factor], axis=-1), ForwardClamp(
        requested, limit
    )


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
