"""Smooth continuation of known colours into a hole, and the coarse colours of a fill that follow from it.

A continuation averages over all known pixels, near ones prevailing: the weight of a known pixel falls with a high power
of its distance (Shepard, ACM 1968), which continues what touches the border of a hole where a membrane would pull
everything towards one mean. The sums are taken over a pyramid, so that their cost does not depend on how deep a hole
is.

A patch brings its own brightness along, a guess whose error is as large as the contrast of the texture. What surrounds
a hole says more about its coarse colours and nothing about its texture. So what is coarser than a patch comes from the
continuation and what is finer from the patches; averaging two whole pictures would blur the texture instead.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.inpainting.pyramid import liveliness

FALL = 4.0
"""Each pyramid level counts 2 to this power less than the finer one below it."""

TONE_STEP = 0.25
"""Difference in brightness (0 to 1) at which two colours count as two materials that are not averaged."""

TONE_SIGMA = 2.0
"""Standard deviation (pixels) of the Gaussian under which the brightness of a known pixel is taken."""

OTHER_TONES = 0.002
"""Weight of known pixels of any brightness, for holes beside which no pixel is of the right one."""

BRIGHTNESS = (0.299, 0.587, 0.114)
"""Luma of gamma-encoded RGB (ITU-R BT.601)."""

SHARE = 0.9
"""How much of the way the coarse colours go."""

SIGMA = 5.0
"""Standard deviation (pixels) of the Gaussian that tells coarse colours from texture, near the size of a patch."""

MOST_CONTRAST = 2.0
"""Largest factor by which the texture gains contrast."""

LEAST_LIVELINESS = 0.02
"""In CIE L per pixel: what is flatter has no texture to strengthen."""

FULL_DEPTH = 4.0
"""Distance (pixels) from the known pixels up to which the changes grow from nothing: the seam stays as it is."""


def continued(values: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(H, W, C) float32 weighted mean around each pixel of the `values` (H, W, C) that are `known` (H, W), any one."""
    return _mean(_weighted_sums(values, known.astype(np.float32)))


def continued_alike(
    srgb: NDArray[np.float32], known: NDArray[np.bool_], guess: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(H, W, 3) float32 weighted mean around each pixel of the known ones that are about as bright as its guess.

    srgb: (H, W, 3) float32 in [0, 1], read where `known` (H, W). guess: (H, W, 3), what a pixel is believed to be:
    where that is sky, the trees beside it do not darken it. Tones are told apart as in a bilateral grid (Chen, Paris
    and Durand, SIGGRAPH 2007).
    """
    weight = known.astype(np.float32)
    tone_known = _local_mean(_brightness(srgb) * weight, weight)
    tone_guessed = _brightness(guess)
    sums = np.float32(OTHER_TONES) * _weighted_sums(srgb, weight)
    for tone in np.arange(0.0, 1.0 + TONE_STEP / 2, TONE_STEP):
        of_this_tone = _weighted_sums(srgb, weight * _likeness(tone_known, float(tone)))
        sums += _likeness(tone_guessed, float(tone))[..., None] * of_this_tone
    return _mean(sums)


def _brightness(srgb: NDArray[np.float32]) -> NDArray[np.float32]:
    red, green, blue = (np.float32(share) * srgb[..., channel] for channel, share in enumerate(BRIGHTNESS))
    return np.asarray(red + green + blue, np.float32)


def _likeness(tones: NDArray[np.float32], tone: float) -> NDArray[np.float32]:
    return np.asarray(np.clip(1.0 - np.abs(tones - np.float32(tone)) / np.float32(TONE_STEP), 0.0, 1.0), np.float32)


def _local_mean(weighted: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    total = cv2.GaussianBlur(weight, (0, 0), TONE_SIGMA)
    return np.asarray(cv2.GaussianBlur(weighted, (0, 0), TONE_SIGMA) / np.maximum(total, 1e-3), np.float32)


def _mean(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(sums[..., :-1] / np.maximum(sums[..., -1:], 1e-30), np.float32)


def _weighted_sums(values: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, C + 1) float32 sums of the weighted values and of the weights over all levels of a pyramid."""
    levels = [np.concatenate((values * weight[..., None], weight[..., None]), axis=-1)]
    while max(levels[-1].shape[:2]) > 1:
        levels.append(_halved(levels[-1]))
    sums = levels.pop()
    while levels:
        finer = levels.pop()
        sums = finer + np.float32(2.0**-FALL) * _doubled(sums, finer.shape)
    return np.asarray(sums)


def _halved(sums: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width, channels = sums.shape
    smooth = cv2.GaussianBlur(sums, (5, 5), 1.0, borderType=cv2.BORDER_CONSTANT)
    even = np.pad(smooth, ((0, height % 2), (0, width % 2), (0, 0)))
    blocks = even.reshape(even.shape[0] // 2, 2, even.shape[1] // 2, 2, channels)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))


def _doubled(sums: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    size = (2 * sums.shape[1], 2 * sums.shape[0])
    doubled = cv2.resize(sums, size, interpolation=cv2.INTER_LINEAR).reshape(size[1], size[0], -1)
    return np.asarray(doubled[: shape[0], : shape[1]])


def with_coarse_colours(
    filled: NDArray[np.float32],
    hole: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    wanted_liveliness: NDArray[np.float32],
) -> NDArray[np.float32]:
    """(H, W, 3) float32 in [0, 1] like `filled`, whose `hole` continues the coarse colours of the `allowed` pixels.

    wanted_liveliness: (H, W) float32, that of the copied patches (see `pyramid.liveliness`): averages of several
        patches are flatter than any of them, so the texture is given its contrast back.
    """
    inside = hole.astype(np.float32)
    coarse = _smooth(filled, inside)
    step = _smooth(continued_alike(filled, allowed, coarse) - filled, inside)
    contrast = _lost_contrast(filled, hole, wanted_liveliness)
    depth = cv2.distanceTransform(hole.astype(np.uint8), cv2.DIST_L2, 5)
    change = SHARE * step + (contrast - 1.0)[..., None] * (filled - coarse)
    changed = np.clip(filled + np.clip(depth / FULL_DEPTH, 0.0, 1.0)[..., None] * change, 0.0, 1.0)
    return np.where(hole[..., None], changed, filled).astype(np.float32)


def _lost_contrast(
    filled: NDArray[np.float32], hole: NDArray[np.bool_], wanted: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(H, W) float32 factor from 1 to `MOST_CONTRAST` between the liveliness of the fill and the `wanted` one."""
    lightness = np.asarray(cv2.cvtColor(filled, cv2.COLOR_RGB2Lab), np.float32)[..., 0]
    present = np.maximum(liveliness(lightness, hole), LEAST_LIVELINESS)
    factor = np.clip(wanted / present, 1.0, MOST_CONTRAST).astype(np.float32)
    return _smooth(factor[..., None], hole.astype(np.float32))[..., 0]


def _smooth(values: NDArray[np.float32], inside: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, C) float32 `values` under the Gaussian of `SIGMA` that mixes in nothing from outside of the hole."""
    total = np.maximum(cv2.GaussianBlur(inside, (0, 0), SIGMA), 1e-3)[..., None]
    blurred = cv2.GaussianBlur(values * inside[..., None], (0, 0), SIGMA).reshape(values.shape)
    return np.asarray(blurred / total, np.float32)
