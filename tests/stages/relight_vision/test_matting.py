"""Mattes follow edges, and colours on the outline lose what shone through."""

from __future__ import annotations

import astronaut
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.matting import kernels, refine_matte, separate
from scenewright_stages.vision.imaging.matting.guided import guided_smooth

Floats = NDArray[np.float32]


def _scene(side: int = 240) -> tuple[Floats, Floats, Floats, Floats]:
    """An orange disc with a soft outline over a bluish gradient: image, alpha, front, back."""
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    radius = np.hypot(columns - side / 2, rows - side / 2)
    alpha = np.clip((side / 3 - radius) / 6 + 0.5, 0, 1).astype(np.float32)
    front = np.dstack([0.8 + 0.1 * rows / side, 0.4 + 0 * rows, 0.1 + 0 * rows]).astype(np.float32)
    back = np.dstack([0.1 + 0 * rows, 0.2 + 0.2 * columns / side, 0.7 + 0 * rows]).astype(np.float32)
    image = alpha[..., None] * front + (1 - alpha[..., None]) * back
    return image.astype(np.float32), alpha, front, back


@pytest.mark.parametrize("side", [240, 720])
def test_a_shifted_mask_becomes_the_matte_of_the_edge(side: int) -> None:
    image, alpha, _, _ = _scene(side)
    moved = np.roll(alpha > 0.5, (3 * side // 240, -4 * side // 240), axis=(0, 1))
    matte = refine_matte(image, moved, 6 * side // 240)
    assert (matte.dtype, matte.shape) == (np.float32, alpha.shape)
    error, before = np.abs(matte - alpha).mean(), np.abs(moved - alpha).mean()
    print(f"mean error {error:.4f}, of the mask itself {before:.4f}")
    assert error < 0.5 * before
    far = cv2.distanceTransform((moved == moved[0, 0]).astype(np.uint8), cv2.DIST_L2, 3) > 30 * side / 240
    assert (matte[far] == 0).all()


def test_no_radius_is_the_mask_itself() -> None:
    image, alpha, _, _ = _scene()
    np.testing.assert_array_equal(refine_matte(image, alpha > 0.5, 0), (alpha > 0.5).astype(np.float32))


def test_the_guided_filter_is_the_least_squares_fit_of_every_window_of_a_portrait() -> None:
    guide = cv2.resize(astronaut.photograph(), (64, 64), interpolation=cv2.INTER_AREA)
    target = cv2.resize(astronaut.outline().astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA)
    for window, regularity in ((3, 2e-4), (9, 2e-4), (4, 9e-4)):
        smooth, fitted = (made(guide, target, window, regularity) for made in (guided_smooth, _fitted))
        difference = np.abs(smooth - fitted)
        print(f"window {window}: mean difference {difference.mean():.1e}, largest {difference.max():.1e}")
        assert difference.max() < 1e-3, "a quarter of an 8-bit level"


def _fitted(guide: Floats, target: Floats, window: int, regularity: float) -> Floats:
    """The guided filter (He et al. 2010) as its equations say, in float64."""

    def windows(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(h, w, channels, pixels): the values in the window around every pixel, mirrored at the border."""
        padded = np.pad(values, ((window, window), (window, window), (0, 0)), mode="reflect")
        seen = np.lib.stride_tricks.sliding_window_view(padded, (2 * window + 1, 2 * window + 1), axis=(0, 1))
        return seen.reshape(*values.shape, -1)

    colours, covers = windows(guide.astype(np.float64)), windows(target.astype(np.float64)[..., None])
    apart = colours - colours.mean(axis=-1, keepdims=True)
    covariance = apart @ apart.swapaxes(-1, -2) / colours.shape[-1] + regularity * np.eye(3)
    slopes = np.linalg.solve(covariance, (apart * covers).mean(axis=-1)[..., None])[..., 0]
    offset = covers.mean(axis=-1)[..., 0] - (slopes * colours.mean(axis=-1)).sum(axis=-1)
    mean = windows(np.dstack([slopes, offset])).mean(axis=-1)
    return np.clip((mean[..., :3] * guide).sum(axis=-1) + mean[..., 3], 0, 1).astype(np.float32)


@pytest.mark.parametrize("side_of_outline", [0, 1])
def test_a_window_on_one_side_of_the_outline_has_no_slope_at_all(side_of_outline: int) -> None:
    guide = np.random.default_rng(3).random((40, 50, 3), np.float32)
    target = np.full((40, 50), side_of_outline, np.float32)
    means = [cv2.blur(each, (7, 7)) for each in kernels.moments(guide, target)]
    solved = kernels.solve(*means, np.float32(2e-4))
    assert (solved == np.array([0, 0, 0, side_of_outline], np.float32)).all()


def test_the_moments_are_contiguous_images_that_opencv_filters_without_copying_them() -> None:
    guide = np.random.default_rng(3).random((40, 50, 3), np.float32)
    found = kernels.moments(guide, guide[..., 0].copy())
    assert [each.shape for each in found] == [(40, 50, 4)] * 3 + [(40, 50)]
    assert all(each.flags.c_contiguous for each in found)


@pytest.mark.parametrize("side", [240, 720])
def test_outline_colours_are_freed_of_the_background(side: int) -> None:
    image, alpha, front, back = _scene(side)
    sides = separate(image, alpha)
    foreground, background = sides.front, sides.back
    soft = (alpha > 0.15) & (alpha < 0.85)
    assert np.abs(foreground - front)[soft].mean() < 0.02
    assert np.abs(background - back)[soft].mean() < 0.02
    assert np.abs(image - front)[soft].mean() > 0.1, "the image itself must lose"
    rebuilt = alpha[..., None] * foreground + (1 - alpha[..., None]) * background
    assert np.abs(rebuilt - image).max() <= 1 / 255


def test_certain_pixels_keep_their_bits() -> None:
    image, alpha, _, _ = _scene()
    sides = separate(image, alpha)
    foreground, background = sides.front, sides.back
    np.testing.assert_array_equal(foreground[alpha == 1], image[alpha == 1])
    np.testing.assert_array_equal(background[alpha == 0], image[alpha == 0])


def test_a_new_foreground_leaves_no_halo_of_the_old_one() -> None:
    image, alpha, _, back = _scene()
    sides = separate(image, alpha)
    foreground, background = sides.front, sides.back
    dark = 0.2
    truth = alpha[..., None] * dark * foreground + (1 - alpha[..., None]) * back
    mine = alpha[..., None] * dark * foreground + (1 - alpha[..., None]) * background
    naive = alpha[..., None] * dark * foreground + (1 - alpha[..., None]) * image
    soft = (alpha > 0) & (alpha < 1)
    assert np.abs(mine - truth)[soft].mean() < 0.01
    assert np.abs(naive - truth)[soft].mean() > 0.05


def test_masks_without_any_soft_pixel_change_nothing() -> None:
    image, alpha, _, _ = _scene()
    for hard in (np.zeros_like(alpha), np.ones_like(alpha), (alpha > 0.5).astype(np.float32)):
        sides = separate(image, hard)
        foreground, background = sides.front, sides.back
        np.testing.assert_array_equal(foreground, image)
        np.testing.assert_array_equal(background, image)
