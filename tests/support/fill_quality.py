"""How good a fill is, with and without the true picture.

PSNR alone prefers blur, so a fill is judged by three things a viewer sees: whether its texture is as lively as that of
its surroundings (gradient energy), whether its border shows (seam step), and whether its colours are in the right place
once fine detail is disregarded (PSNR after a Gaussian blur).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

RING = 16
"""Width (pixels) of the known surroundings that a fill is compared with."""

BLUR_SIGMA = 4.0
"""Standard deviation (pixels) of the blur before `blurred_psnr`."""


@dataclass(frozen=True)
class FillQuality:
    """Measurements of one fill that need no true picture.

    gradient_energy: mean squared gradient in the fill over that in the ring around it; 1 = equally lively.
    typical_gradient: median squared gradient in the fill over that in the ring. Stripes that run into the hole have
        next to none along themselves, and the jumps between them, which the mean counts as liveliness, do not help.
    seam_step: median colour step across the border of the hole over the median step inside the ring.
    unfilled: hole pixels that are not finite.
    """

    gradient_energy: float
    typical_gradient: float
    seam_step: float
    unfilled: int


def measure(
    srgb: NDArray[np.float32], hole: NDArray[np.bool_], surroundings: NDArray[np.bool_] | None = None
) -> FillQuality:
    """Measure a filled picture: srgb (H, W, 3) float32, hole (H, W) bool.

    surroundings: (H, W) bool, known pixels the fill continues (default all); a disocclusion has the background there,
        for a step towards the foreground object is right.
    """
    known = ~hole if surroundings is None else surroundings & ~hole
    ring = known & (distance_to(hole) <= RING)
    return FillQuality(
        gradient_energy=gradient_energy(srgb, hole) / max(gradient_energy(srgb, ring), 1e-12),
        typical_gradient=_typical_gradient(srgb, hole) / max(_typical_gradient(srgb, ring), 1e-12),
        seam_step=_median_step(srgb, hole, known) / max(_median_step(srgb, ring, ring), 1e-6),
        unfilled=int((~np.isfinite(srgb[hole]).all(axis=-1)).sum()),
    )


def gradient_energy(srgb: NDArray[np.float32], region: NDArray[np.bool_]) -> float:
    """Mean squared difference of neighbouring pixels (summed over RGB) that both lie in `region`; 0 without any."""
    values = _squared_gradients(srgb, region)
    return float(values.mean()) if len(values) else 0.0


def _typical_gradient(srgb: NDArray[np.float32], region: NDArray[np.bool_]) -> float:
    values = _squared_gradients(srgb, region)
    return float(np.median(values)) if len(values) else 0.0


def _squared_gradients(srgb: NDArray[np.float32], region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Squared differences (N,), summed over RGB, of neighbouring pixels that both lie in `region`."""
    return np.concatenate([np.sum(step**2, axis=-1) for step in _neighbour_differences(srgb, region, region)])


def blurred_psnr(srgb: NDArray[np.float32], truth: NDArray[np.float32], region: NDArray[np.bool_]) -> float:
    """PSNR (dB) inside `region` after both pictures (H, W, 3) were blurred by `BLUR_SIGMA`."""
    return psnr(_blurred(srgb), _blurred(truth), region)


def _blurred(srgb: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(srgb, (0, 0), BLUR_SIGMA), np.float32)


def psnr(srgb: NDArray[np.float32], truth: NDArray[np.float32], region: NDArray[np.bool_]) -> float:
    """Peak signal-to-noise ratio (dB, peak 1) over the pixels of `region` (H, W) of two (H, W, 3) pictures."""
    error = float(np.mean((srgb[region].astype(np.float64) - truth[region]) ** 2))
    return float(-10.0 * np.log10(max(error, 1e-12)))


def distance_to(region: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W) float32 distance (pixels) to the nearest pixel of `region`; infinite when it is empty."""
    if not region.any():
        return np.full(region.shape, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, 5), np.float32)


def _median_step(srgb: NDArray[np.float32], one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Median RGB distance of neighbouring pixels of which one lies in `one` and the other in `other`."""
    steps = [
        np.linalg.norm(difference, axis=-1)
        for pair in ((one, other), (other, one))
        for difference in _neighbour_differences(srgb, *pair)
    ]
    values = np.concatenate(steps)
    return float(np.median(values)) if len(values) else 0.0


def _neighbour_differences(
    srgb: NDArray[np.float32], first: NDArray[np.bool_], second: NDArray[np.bool_]
) -> list[NDArray[np.float32]]:
    """Differences (N, 3) between pixels in `first` and their right, then lower, neighbours in `second`."""
    right = first[:, :-1] & second[:, 1:]
    lower = first[:-1] & second[1:]
    return [(srgb[:, 1:] - srgb[:, :-1])[right], (srgb[1:] - srgb[:-1])[lower]]
