"""Fill the holes of a picture from the picture itself: the classic, weightless completion backend."""

from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.inpainting import pyramid
from scenewright_stages.vision.imaging.inpainting.background import background_side
from scenewright_stages.vision.imaging.inpainting.blend import blend_seams
from scenewright_stages.vision.imaging.inpainting.continuation import with_coarse_colours
from scenewright_stages.vision.imaging.inpainting.patchmatch import PatchSettings, complete_levels

PIXELS_PER_THREAD = 6000
"""Hole pixels that make a further thread worth its synchronisation, several hundred times per completion."""


class FillError(ValueError):
    """The hole cannot be filled, or was not filled completely."""


def complete(
    srgb: NDArray[np.float32],
    hole: NDArray[np.bool_],
    seed: int,
    allowed_source: NDArray[np.bool_] | None = None,
    depth_guide: NDArray[np.float32] | None = None,
    *,
    settings: PatchSettings | None = None,
) -> NDArray[np.float32]:
    """Fill `hole` with patches of the known part of the picture, without a visible seam.

    srgb: (H, W, 3) float32 in [0, 1]; values inside the hole are ignored and may be anything, NaN included.
    hole: (H, W) bool, True = fill.
    seed: same seed, same bytes, whatever the number of threads.
    allowed_source: (H, W) bool, known pixels that may be copied and that the fill continues; None = all known ones.
        Behind a foreground object, pass the background side only.
    depth_guide: (H, W) float32 depth along +z in metres: only the far side of each hole is copied and continued (see
        `background_side`). Values in the hole are ignored; unknown depths are NaN, inf or 0.
    settings: recipe of the patch search, for experiments.

    Returns a new (H, W, 3) float32 array in [0, 1], bit-identical to `srgb` outside the hole.
    Raises FillError when shapes disagree, a known pixel is not finite or outside [0, 1], no allowed source pixel
    exists, or a pixel stayed unfilled.
    """
    _check_input(srgb, hole, allowed_source, depth_guide)
    if not hole.any():
        return srgb.copy()
    allowed = _allowed(hole, allowed_source, depth_guide)
    if not allowed.any():
        raise FillError("no known pixel to copy from: the hole (and what is not allowed) covers the whole picture")
    with threads_for(int(hole.sum())):
        return _fill(srgb, hole, allowed, seed, settings or PatchSettings())


def _fill(
    srgb: NDArray[np.float32],
    hole: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    seed: int,
    settings: PatchSettings,
) -> NDArray[np.float32]:
    known = np.where(hole[..., None], np.float32(0.0), srgb)
    levels = pyramid.build(known, hole, allowed)
    votes = complete_levels(levels, known, seed, settings)
    unfilled = int(np.isnan(votes.colours[hole]).any(axis=-1).sum())
    if unfilled:
        raise FillError(f"{unfilled} of {int(hole.sum())} hole pixels stayed unfilled")
    known[hole] = votes.colours[hole]
    blended = blend_seams(known, hole, allowed, votes.steps)
    return with_coarse_colours(blended, hole, allowed, votes.liveliness)


def _allowed(
    hole: NDArray[np.bool_], allowed_source: NDArray[np.bool_] | None, depth_guide: NDArray[np.float32] | None
) -> NDArray[np.bool_]:
    allowed = ~hole if depth_guide is None else background_side(depth_guide, hole)
    return allowed if allowed_source is None else allowed & allowed_source


def _check_input(
    srgb: NDArray[np.float32],
    hole: NDArray[np.bool_],
    allowed_source: NDArray[np.bool_] | None,
    depth_guide: NDArray[np.float32] | None,
) -> None:
    if srgb.ndim != 3 or srgb.shape[2] != 3 or srgb.dtype != np.float32:
        raise FillError(f"srgb must be (H, W, 3) float32, is {srgb.shape} {srgb.dtype}")
    for name, mask in (("hole", hole), ("allowed_source", allowed_source)):
        if mask is not None and (mask.shape != srgb.shape[:2] or mask.dtype != np.bool_):
            raise FillError(f"{name} must be {srgb.shape[:2]} bool, is {mask.shape} {mask.dtype}")
    if depth_guide is not None and depth_guide.shape != srgb.shape[:2]:
        raise FillError(f"depth_guide must be {srgb.shape[:2]}, is {depth_guide.shape}")
    known = srgb[~hole]
    if not np.all((known >= 0.0) & (known <= 1.0)):
        raise FillError("known pixels must be finite and in [0, 1]")


def warm_up() -> None:
    """Compile all kernels (or load them from the cache) by completing a tiny picture."""
    srgb = np.linspace(0.0, 1.0, 48 * 48 * 3, dtype=np.float32).reshape(48, 48, 3)
    hole = np.zeros((48, 48), np.bool_)
    hole[20:40, 20:40] = True
    complete(srgb, hole, seed=0)


@contextmanager
def threads_for(pixels: int) -> Iterator[None]:
    """Limit the kernels called inside to as many threads as `pixels` hole pixels are worth; restores the number."""
    before = numba.get_num_threads()
    numba.set_num_threads(max(1, min(before, pixels // PIXELS_PER_THREAD)))
    try:
        yield
    finally:
        numba.set_num_threads(before)
