"""The fast multi-scale Retinex against the plain formula with cv2.GaussianBlur."""

from __future__ import annotations

import astronaut
import cv2
import hopper
import numpy as np
import pytest
from astronaut import enlarged, photograph
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.albedo import estimate_albedo, multi_scale_retinex, retinex_blurs
from scenewright_stages.vision.imaging.albedo.retinex import SCALES

Floats = NDArray[np.float32]


def plain_blur(image: Floats, sigma: float) -> Floats:
    """The formula's blur."""
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)


def plain_retinex(srgb: Floats) -> Floats:
    """The formula, step by step: mean of log ratios, global range, 1 % balance per channel; in 0..255."""
    image = srgb * np.float32(255)
    ratios = [np.log10(image + 1) - np.log10(plain_blur(image, sigma) + 1) for sigma in SCALES]
    mean = np.mean(ratios, axis=0, dtype=np.float32)
    ranged = (mean - mean.min()) / (mean.max() - mean.min()) * 255
    low, high = np.percentile(ranged, [1, 99], axis=(0, 1))
    return np.clip((ranged - low) / (high - low), 0, 1) * 255


def _checker(side: int) -> Floats:
    rows, columns = np.mgrid[:side, :side]
    return np.repeat((((rows // 64) + (columns // 64)) % 2).astype(np.float32)[..., None], 3, axis=2)


def _picture(name: str) -> Floats:
    pictures = {
        "astronaut-640": lambda: enlarged(640),
        "odd-sizes": lambda: np.ascontiguousarray(photograph()[:333, :417]),
        "checker": lambda: _checker(512),
        "noise": lambda: np.random.default_rng(0).random((384, 384, 3), np.float32),
        "step": lambda: np.repeat((np.arange(400)[None] > 150).astype(np.float32).repeat(400, 0)[..., None], 3, axis=2),
    }
    return pictures[name]()


def _worst(one: Floats, other: Floats) -> float:
    return float(np.abs(one - other).max())


def _mirrored_late(image: Floats, sigma: float, factor: int = 16) -> Floats:
    """What must lose: reduced first, mirrored after that."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // factor, height // factor), interpolation=cv2.INTER_AREA)
    blurred = cv2.GaussianBlur(small, (0, 0), sigma / factor, borderType=cv2.BORDER_REFLECT_101)
    return cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR)


@pytest.mark.parametrize(
    "name",
    ["astronaut-640", "odd-sizes", "checker", "noise", "step"],
)
def test_blurs_and_result_are_within_one_level_of_the_formula(name: str) -> None:
    picture = _picture(name)
    image = picture * np.float32(255)
    errors = [
        _worst(fast, plain_blur(image, sigma)) for fast, sigma in zip(retinex_blurs(image, SCALES), SCALES, strict=True)
    ]
    final = _worst(multi_scale_retinex(picture) * 255, plain_retinex(picture))
    print(f"{name}: blurs {', '.join(f'{error:.3f}' for error in errors)}; final {final:.3f} levels")
    assert max(errors) < 1
    assert final < 1


def test_mirroring_after_the_reduction_is_levels_off_at_the_edges() -> None:
    image = photograph() * np.float32(255)
    exact = plain_blur(image, 250.0)
    assert _worst(_mirrored_late(image, 250.0), exact) > 1
    assert _worst(next(retinex_blurs(image, (250.0,))), exact) < 1


def test_small_scales_are_blurred_at_full_size() -> None:
    image = photograph() * np.float32(255)
    np.testing.assert_array_equal(next(retinex_blurs(image, (1.5,))), plain_blur(image, 1.5))


def test_pictures_smaller_than_the_surround_are_mirrored_again_and_again() -> None:
    image = np.ascontiguousarray(photograph()[100:160, 200:270]) * np.float32(255)
    assert _worst(next(retinex_blurs(image, (80.0,))), plain_blur(image, 80.0)) < 1


def test_a_flat_picture_stays_as_it_is() -> None:
    flat = np.full((64, 80, 3), 0.4, np.float32)
    np.testing.assert_allclose(multi_scale_retinex(flat), flat, atol=1e-6)


def test_the_result_has_one_percent_black_and_one_percent_white() -> None:
    result = multi_scale_retinex(photograph())
    for channel in range(3):
        assert (result[..., channel] == 0).mean() == pytest.approx(0.01, abs=0.002)
        assert (result[..., channel] == 1).mean() == pytest.approx(0.01, abs=0.002)


SKIN = {"astronaut": (95, 150, 190, 260), "hopper": (180, 300, 190, 340)}
"""Rows and columns of the face."""


def _hue_and_saturation(srgb: Floats, name: str) -> tuple[float, float]:
    """Of the skin: mean hue in degrees, weighted by saturation, and median saturation."""
    top, bottom, left, right = SKIN[name]
    values = cv2.cvtColor(np.ascontiguousarray(srgb[top:bottom, left:right]), cv2.COLOR_RGB2HSV).reshape(-1, 3)
    angles = np.radians(values[:, 0])
    direction = (values[:, 1] * np.sin(angles)).sum(), (values[:, 1] * np.cos(angles)).sum()
    return float(np.degrees(np.arctan2(*direction))), float(np.median(values[:, 1]))


@pytest.mark.parametrize("name", ["astronaut", "hopper"])
def test_skin_keeps_its_hue_and_saturation_and_the_original_formula_turns_it_grey(name: str) -> None:
    picture = hopper.photograph() if name == "hopper" else astronaut.photograph()
    mask = hopper.outline() if name == "hopper" else astronaut.outline()
    hue, saturation = _hue_and_saturation(picture, name)
    found = {
        chroma: _hue_and_saturation(estimate_albedo(picture, mask, "retinex", {"chroma": chroma})[0], name)
        for chroma in ("keep", "original")
    }
    print(f"{name}: hue {hue:.1f}, saturation {saturation:.2f}; {found}")
    kept, original = found["keep"], found["original"]
    assert abs(kept[0] - hue) <= 6 and kept[1] >= 0.8 * saturation
    assert original[1] < 0.8 * saturation


def test_a_bright_background_does_not_darken_the_face() -> None:
    picture, mask = astronaut.photograph(), astronaut.outline()
    behind = np.where(mask[..., None], picture, np.float32(1))
    black = np.where(mask[..., None], picture, np.float32(0))
    one, other = (estimate_albedo(each, mask, "retinex")[0][mask] for each in (behind, black))
    assert np.abs(one - other).max() < 0.01
    one, other = (estimate_albedo(each, mask, "retinex", {"chroma": "original"})[0][mask] for each in (behind, black))
    assert np.abs(one - other).mean() > 0.01
