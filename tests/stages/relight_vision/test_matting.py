"""Mattes follow edges, and colours on the outline lose what shone through."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from scenewright_stages.vision.matting import refine_matte, separate

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


@pytest.mark.parametrize("side", [240, 720])
def test_outline_colours_are_freed_of_the_background(side: int) -> None:
    image, alpha, front, back = _scene(side)
    foreground, background = separate(image, alpha)
    soft = (alpha > 0.15) & (alpha < 0.85)
    assert np.abs(foreground - front)[soft].mean() < 0.02
    assert np.abs(background - back)[soft].mean() < 0.02
    assert np.abs(image - front)[soft].mean() > 0.1, "the image itself must lose"
    rebuilt = alpha[..., None] * foreground + (1 - alpha[..., None]) * background
    assert np.abs(rebuilt - image).max() <= 1 / 255


def test_certain_pixels_keep_their_bits() -> None:
    image, alpha, _, _ = _scene()
    foreground, background = separate(image, alpha)
    np.testing.assert_array_equal(foreground[alpha == 1], image[alpha == 1])
    np.testing.assert_array_equal(background[alpha == 0], image[alpha == 0])


def test_a_new_foreground_leaves_no_halo_of_the_old_one() -> None:
    image, alpha, _, back = _scene()
    foreground, background = separate(image, alpha)
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
        foreground, background = separate(image, hard)
        np.testing.assert_array_equal(foreground, image)
        np.testing.assert_array_equal(background, image)
