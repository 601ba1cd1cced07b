"""Aligns predicted depth with known depth and blends the two without a seam.

A robust affine fit aligns the prediction with the known depth, in depth or in inverse depth: models trained on
disparity are correct up to scale and shift of *inverse* depth, which no affine map of depth can correct. A membrane
then extends the residual of the known pixels into the unknown ones, by solving Laplace's equation with the residual as
boundary value. (LucidDreamer, arXiv 2311.13384, stops a repeated blur after 100 rounds; here the solution has
converged.) Known depth is returned bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numba
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.points import valid_depth
from scenewright_stages.vision.types import Float32Array, Float64Array, FloatArray, Mask

LEAST_OVERLAP_PIXELS = 10
RESIDUAL_TOLERANCE = 1e-6
"""Of the membrane: the norm of the residual relative to that of the boundary terms."""

_ROBUST_ROUNDS = 10
_HUBER_SIGMAS = 1.5
_LEAST_SHARE_OF_NEAREST = 0.2
_MOST_TIMES_FARTHEST = 5.0
_ERROR_LIMIT = 0.5
_COARSEST_PIXELS = 64


@dataclass(frozen=True)
class AffineFit:
    """reference = scale * predicted + shift (for "inverse", of the inverse depths), and how it was found.

    Attributes:
        kind: "affine" or "inverse"; "ratio" if an affine fit would reverse the order of depths or make some negative;
            "none" if 10 pixels or fewer overlap.
        overlap: number of pixels used for the fit.
    """

    scale: float
    shift: float
    kind: Literal["affine", "inverse", "ratio", "none"]
    overlap: int

    def coordinate(self, depth: FloatArray) -> Float64Array:
        """Depths in the fit's coordinate: inverted for a fit of inverse depth; NaN where invalid."""
        values = np.where(valid_depth(depth), depth, np.nan).astype(np.float64)
        return 1 / values if self.kind == "inverse" else values

    def aligned(self, predicted: FloatArray) -> Float64Array:
        """Predictions (H, W) aligned with the reference, in the fit's coordinate."""
        return self.scale * self.coordinate(predicted) + self.shift


def smooth_connect(predicted: FloatArray, reference: FloatArray, binding: Mask | None = None) -> Float32Array:
    """Depth (H, W) float32: the reference where it is valid, the aligned prediction elsewhere.

    Both arguments are (H, W) depths; NaN, infinite and non-positive values mean unknown. The result is NaN where both
    are unknown.

    Args:
        binding: (H, W) bool, the known pixels whose residual is extended; all by default. The fit always uses all.

    Raises:
        ValueError: the shapes differ.
    """
    if predicted.shape != reference.shape:
        raise ValueError(f"prediction {predicted.shape} and reference {reference.shape} differ in shape")
    known, usable = valid_depth(reference), valid_depth(predicted)
    fit = fit_prediction(predicted, reference)
    aligned = fit.aligned(predicted)
    bound = known & usable if binding is None else known & usable & binding
    residual = np.where(bound, fit.coordinate(reference) - aligned, 0)
    connected = aligned + membrane(residual, bound)
    nearest, farthest = _limits(reference, known)
    if fit.kind == "inverse":
        # Negative inverse depth would lie beyond infinity.
        connected = 1 / np.maximum(connected, 1 / farthest)
    connected = np.maximum(connected, nearest)
    return np.where(known, reference, connected).astype(np.float32)


def fit_prediction(predicted: FloatArray, reference: FloatArray) -> AffineFit:
    """The fit in depth or in inverse depth, whichever matches the common pixels better."""
    in_depth = fit_affine(predicted, reference)
    if in_depth.kind == "none":
        return in_depth
    common = valid_depth(predicted) & valid_depth(reference)
    source, target = (values[common].astype(np.float64) for values in (predicted, reference))
    scale, shift = _huber_line(1 / source, 1 / target)
    if scale <= 0:
        return in_depth
    inverse = AffineFit(scale, shift, "inverse", in_depth.overlap)
    return min(in_depth, inverse, key=lambda fit: _relative_error(fit, source, target))


def _relative_error(fit: AffineFit, source: Float64Array, target: Float64Array) -> float:
    """Mean relative error of the aligned depths; gross outliers count half."""
    aligned = fit.aligned(source)
    if fit.kind == "inverse":
        aligned = 1 / np.maximum(aligned, 1 / (_MOST_TIMES_FARTHEST * target.max()))
    return float(np.minimum(np.abs(aligned / target - 1), _ERROR_LIMIT).mean())


def fit_affine(predicted: FloatArray, reference: FloatArray) -> AffineFit:
    """The robust fit of a prediction to a reference over the pixels where both are valid.

    Iteratively reweighted least squares with Huber weights. Falls back to the median ratio if the scale is not
    positive, or if the fit would move some pixels to a fifth of the nearest reference depth or nearer.
    """
    usable = valid_depth(predicted)
    overlap = usable & valid_depth(reference)
    count = int(overlap.sum())
    if count <= LEAST_OVERLAP_PIXELS:
        return AffineFit(1.0, 0.0, "none", count)
    source, target = predicted[overlap].astype(np.float64), reference[overlap].astype(np.float64)
    scale, shift = _huber_line(source, target)
    least = scale * float(predicted[usable].min()) + shift
    if scale <= 0 or least < _LEAST_SHARE_OF_NEAREST * target.min():
        return AffineFit(float(np.median(target / source)), 0.0, "ratio", count)
    return AffineFit(scale, shift, "affine", count)


def membrane(values: FloatArray, known: Mask) -> Float64Array:
    """(H, W) float64: values where known, and the solution of Laplace's equation elsewhere.

    The border of the image is free (no flow across it). Without any known pixel the result is zero.
    """
    solution = np.where(known, values, 0).astype(np.float64)
    if known.all() or not known.any():
        return solution
    free = ~known
    start = _coarse_solution(solution, known)
    neighbours, degree, rhs = _equations(solution, free)
    unknowns = np.append(start[free], 0.0)
    _conjugate_gradients(neighbours, degree, rhs, unknowns, RESIDUAL_TOLERANCE)
    solution[free] = unknowns[:-1]
    return solution


def warm_up() -> None:
    """Compiles the kernel, or loads it from the cache."""
    known = np.zeros((16, 16), np.bool_)
    known[0] = True
    membrane(np.ones((16, 16)), known)


def _limits(reference: FloatArray, known: Mask) -> tuple[float, float]:
    """Limits of connected depth: a fifth of the nearest known depth, and five times the farthest."""
    if not known.any():
        return 0.0, np.inf
    return _LEAST_SHARE_OF_NEAREST * float(reference[known].min()), _MOST_TIMES_FARTHEST * float(reference[known].max())


def _huber_line(source: Float64Array, target: Float64Array) -> tuple[float, float]:
    weights = np.ones_like(source)
    scale, shift = 0.0, 0.0
    for _ in range(_ROBUST_ROUNDS):
        scale, shift = _weighted_line(source, target, weights)
        if scale == 0.0:
            break
        error = np.abs(target - scale * source - shift)
        limit = max(_HUBER_SIGMAS * 1.4826 * float(np.median(error)), 1e-12)
        weights = np.minimum(1.0, limit / np.maximum(error, limit))
    return scale, shift


def _weighted_line(source: Float64Array, target: Float64Array, weights: Float64Array) -> tuple[float, float]:
    total = weights.sum()
    source_mean, target_mean = (weights @ source) / total, (weights @ target) / total
    spread = weights @ (source - source_mean) ** 2
    if spread <= 1e-12 * total * max(source_mean**2, 1e-300):
        return 0.0, float(target_mean)
    scale = float((weights * (source - source_mean)) @ (target - target_mean) / spread)
    return scale, float(target_mean - scale * source_mean)


def _coarse_solution(values: Float64Array, known: Mask) -> Float64Array:
    """A starting point: the membrane of the half-size problem, interpolated bilinearly."""
    height, width = values.shape
    if height * width <= _COARSEST_PIXELS or min(height, width) < 4:
        return np.full(values.shape, values[known].mean())
    even = [(0, height % 2), (0, width % 2)]
    blocks = (-(-height // 2), 2, -(-width // 2), 2)
    weight = np.pad(known.astype(np.float64), even).reshape(blocks).sum(axis=(1, 3))
    total = np.pad(values, even).reshape(blocks).sum(axis=(1, 3))
    coarse = membrane(total / np.maximum(weight, 1), weight > 0)
    return _doubled(coarse)[:height, :width]


def _doubled(coarse: Float64Array) -> Float64Array:
    """Bilinear interpolation to twice the size, cell centres kept in place."""
    for axis in (0, 1):
        padded = np.pad(coarse, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
        moved = np.moveaxis(padded, axis, 0)
        fine = np.empty((2 * (len(moved) - 2), *moved.shape[1:]))
        fine[0::2] = 0.75 * moved[1:-1] + 0.25 * moved[:-2]
        fine[1::2] = 0.75 * moved[1:-1] + 0.25 * moved[2:]
        coarse = np.moveaxis(fine, 0, axis)
    return coarse


def _equations(values: Float64Array, free: Mask) -> tuple[NDArray[np.int32], Float64Array, Float64Array]:
    """The Laplacian over the free pixels.

    Returns:
        neighbours (n, 4) int32 (n stands for "none": a pixel that is known or outside), degree (n,)
        float64 number of neighbours inside the image, rhs (n,) float64 sum of the known ones.
    """
    count = int(free.sum())
    numbers = np.full((free.shape[0] + 2, free.shape[1] + 2), count, np.int32)
    numbers[1:-1, 1:-1][free] = np.arange(count, dtype=np.int32)
    inside = np.pad(np.ones(free.shape), 1)
    padded = np.pad(values, 1)
    windows = [(slice(0, -2), slice(1, -1)), (slice(2, None), slice(1, -1))]
    windows += [(slice(1, -1), slice(0, -2)), (slice(1, -1), slice(2, None))]
    neighbours = np.stack([numbers[window][free] for window in windows], axis=-1)
    degree = sum((inside[window][free] for window in windows), start=np.zeros(count))
    rhs = sum((padded[window][free] for window in windows), start=np.zeros(count))
    return neighbours, degree, rhs


@numba.njit("i8(i4[:,::1], f8[::1], f8[::1], f8[::1], f8)", cache=True, nogil=True)
def _conjugate_gradients(neighbours, degree, rhs, unknowns, tolerance):  # type: ignore[no-untyped-def]
    """Solves in place and serially, so that sums have one order; unknowns holds one zero more."""
    count = degree.size
    residual = np.empty(count)
    direction = np.zeros(count + 1)
    product = np.empty(count)
    squared, boundary = 0.0, 0.0
    for i in range(count):
        total = rhs[i] - degree[i] * unknowns[i]
        for k in range(4):
            total += unknowns[neighbours[i, k]]
        residual[i] = total
        direction[i] = total / degree[i]
        squared += total * total / degree[i]
        boundary += rhs[i] * rhs[i] / degree[i]
    goal = tolerance * tolerance * boundary
    rounds = 0
    while squared > goal and rounds < 10 * count:
        curvature = 0.0
        for i in range(count):
            total = degree[i] * direction[i]
            for k in range(4):
                total -= direction[neighbours[i, k]]
            product[i] = total
            curvature += direction[i] * total
        step = squared / curvature
        following = 0.0
        for i in range(count):
            unknowns[i] += step * direction[i]
            residual[i] -= step * product[i]
            following += residual[i] * residual[i] / degree[i]
        momentum = following / squared
        for i in range(count):
            direction[i] = residual[i] / degree[i] + momentum * direction[i]
        squared = following
        rounds += 1
    return rounds
