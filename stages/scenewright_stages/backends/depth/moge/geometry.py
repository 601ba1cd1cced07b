"""Converts an affine-invariant point map to depth, by solving for the focal length and shift of a perspective view.

A point (x, y, z) seen at view-plane coordinates u satisfies ``u = focal * (x, y) / (z + shift)`` (MoGe, section 3.2).
For a given shift the best focal length has a closed form. The remaining least-squares problem in one unknown is solved
by damped Gauss-Newton steps in float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.types import Float64Array

# MoGe's own code fits 64x64 samples; more change the result only in the fourth digit.
_SAMPLES_PER_SIDE = 64
_ITERATIONS = 60
_TOLERANCE = 1e-10
# A field of view of a ninth of a degree: longer than any lens a photograph is taken with.
_LONGEST_FOCAL = 1e3
# In units of the farthest point; a shift beyond it says that the points are seen in parallel.
_LONGEST_SHIFT = 1e3


@dataclass(frozen=True)
class PerspectiveFit:
    """Solution of the fit.

    Attributes:
        focal: focal length in units of half the image's diagonal.
        shift: to be added to z, in the point map's unit.
    """

    focal: float
    shift: float


def view_plane_grid(width: int, height: int) -> Float64Array:
    """(height, width, 2) coordinates of pixel centres; the image's corners lie on the unit circle."""
    diagonal = float(np.hypot(width, height))
    columns = (2 * np.arange(width) + 1 - width) / diagonal
    rows = (2 * np.arange(height) + 1 - height) / diagonal
    return np.stack(np.broadcast_arrays(columns[None, :], rows[:, None]), axis=-1)


def focal_from_field_of_view(degrees: float, width: int, height: int) -> float:
    """Focal length in half diagonals from the horizontal field of view."""
    return float(width / np.hypot(width, height) / np.tan(np.radians(degrees) / 2))


def fit_perspective(points: NDArray[np.float32], mask: NDArray[np.bool_], focal: float | None) -> PerspectiveFit:
    """The focal length and shift that explain a point map best.

    Args:
        points: (H, W, 3) affine-invariant points; x and y in the same scale as z.
        mask: (H, W) which of them count.
        focal: known focal length in half diagonals; None to solve for it.

    Raises:
        ValueError: fewer than two valid points, or points that no camera can see.
    """
    directions, sampled = _samples(points, mask)
    if len(sampled) < 2:
        raise ValueError("a perspective fit needs at least two valid points")
    problem = _ShiftProblem(sampled[:, :2], sampled[:, 2], directions, focal)
    shift = problem.solve()
    best = problem.focal_at(shift)
    # Points without perspective would be fitted best from infinity, or from behind.
    if not (0 < best <= _LONGEST_FOCAL and shift <= _LONGEST_SHIFT * float(np.abs(sampled[:, 2]).max())):
        raise ValueError(f"no perspective camera sees these points (focal {best:.3g}, shift {shift:.3g})")
    return PerspectiveFit(best, shift)


def _samples(points: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[Float64Array, Float64Array]:
    """View-plane coordinates (N, 2) and points (N, 3) on a coarse grid of valid pixels."""
    height, width = mask.shape
    rows = np.arange(_SAMPLES_PER_SIDE) * height // _SAMPLES_PER_SIDE
    columns = np.arange(_SAMPLES_PER_SIDE) * width // _SAMPLES_PER_SIDE
    chosen = np.ix_(rows, columns)
    sampled = points[chosen].astype(np.float64)
    kept = mask[chosen] & np.isfinite(sampled).all(axis=-1)
    return view_plane_grid(width, height)[chosen][kept], sampled[kept]


@dataclass(frozen=True)
class _ShiftProblem:
    """Least squares of ``focal * xy / (z + shift) - directions`` over the shift."""

    xy: Float64Array
    z: Float64Array
    directions: Float64Array
    known_focal: float | None

    def solve(self) -> float:
        """Damped Gauss-Newton from shift 0; a step must keep all points in front and lower the cost."""
        lowest = -float(self.z.min())
        shift = max(0.0, lowest + 1e-3 * (abs(lowest) + 1.0))
        cost, damping = self._cost(shift), 1e-3
        for _ in range(_ITERATIONS):
            step = self._step(shift, damping)
            candidate = shift + step
            new_cost = self._cost(candidate) if candidate > lowest else np.inf
            if new_cost > cost:
                damping *= 10.0
                continue
            converged = abs(step) <= _TOLERANCE * (1.0 + abs(shift))
            shift, cost, damping = candidate, new_cost, damping / 10.0
            if converged:
                break
        return float(shift)

    def focal_at(self, shift: float) -> float:
        """The given focal length, or the best one for that shift."""
        if self.known_focal is not None:
            return self.known_focal
        projected = self._projected(shift)
        return float((projected * self.directions).sum() / (projected**2).sum())

    def _projected(self, shift: float) -> Float64Array:
        return self.xy / (self.z + shift)[:, None]

    def _cost(self, shift: float) -> float:
        return float(((self.focal_at(shift) * self._projected(shift) - self.directions) ** 2).sum())

    def _step(self, shift: float, damping: float) -> float:
        projected, focal = self._projected(shift), self.focal_at(shift)
        slope = -projected / (self.z + shift)[:, None]
        gradient = focal * slope
        if self.known_focal is None:
            change = (slope * self.directions).sum() - 2 * focal * (projected * slope).sum()
            gradient = gradient + change / (projected**2).sum() * projected
        residual = focal * projected - self.directions
        curvature = float((gradient**2).sum())
        return -float((gradient * residual).sum()) / (curvature * (1.0 + damping) + 1e-300)


def pixel_intrinsics(focal: float, width: int, height: int) -> Float64Array:
    """(3, 3) intrinsics in pixels from a focal length in half diagonals; the principal point is central."""
    pixels = focal * float(np.hypot(width, height)) / 2
    return np.array([[pixels, 0.0, width / 2], [0.0, pixels, height / 2], [0.0, 0.0, 1.0]])
