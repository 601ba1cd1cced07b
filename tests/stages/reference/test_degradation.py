"""Degradations equal the plain formulas of Pillow and OpenCV, step by step."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from scenewright_stages.reference.augment import chances
from scenewright_stages.reference.degradation import Degradation, degraded, drawn, line_kernel
from scenewright_stages.reference.params import AugmentParams

Bytes = NDArray[np.uint8]
DRAWS = 600


@pytest.fixture
def picture() -> Bytes:
    rng = np.random.default_rng(4)
    smooth = cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), (120, 90), interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth.astype(int) + rng.integers(-12, 12, smooth.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("factor", [0.1, 0.7, 1.6, 2.5])
@pytest.mark.parametrize(
    ("step", "enhancer"),
    [
        ("saturation", ImageEnhance.Color),
        ("contrast", ImageEnhance.Contrast),
        ("brightness", ImageEnhance.Brightness),
    ],
)
def test_colours_change_as_with_pillow(picture: Bytes, step: str, enhancer, factor: float) -> None:
    expected = np.asarray(enhancer(Image.fromarray(picture)).enhance(factor)).astype(int)
    found = degraded(picture, Degradation(**{step: factor})).astype(int)
    np.testing.assert_array_equal(found, expected)
    assert np.abs(found - picture).mean() > 2


def test_black_and_white_and_blur_are_opencvs(picture: Bytes) -> None:
    grey = np.asarray(Image.fromarray(picture).convert("L").convert("RGB"))
    assert np.abs(degraded(picture, Degradation(True)).astype(int) - grey).max() <= 1
    kernel = np.zeros((21, 21), np.float32)
    kernel[10] = 1 / 21
    expected = cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    assert np.abs(degraded(picture, Degradation(blur=21)).astype(int) - expected).mean() <= 1
    assert line_kernel(30, 37.0).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("size", [(96, 112), (90, 120), (50, 70), (33, 17), (1, 5)])
@pytest.mark.parametrize("qualities", [(90,), (30, 12), (10, 40, 25, 33)])
def test_compression_is_that_of_repeated_jpeg_files(size: tuple[int, int], qualities: tuple[int, ...]) -> None:
    """To the last bit, also at the edges of pictures that are not whole macroblocks."""
    rng = np.random.default_rng(sum(size))
    noise = rng.integers(0, 256, (max(2, size[0] // 5), max(2, size[1] // 5), 3), np.uint8)
    picture = np.asarray(cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
    expected = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    for quality in qualities:
        _, file = cv2.imencode(".jpg", expected, [cv2.IMWRITE_JPEG_QUALITY, quality])
        expected = cv2.imdecode(file, cv2.IMREAD_COLOR)
    found = degraded(picture, Degradation(qualities=qualities))
    np.testing.assert_array_equal(found, cv2.cvtColor(expected, cv2.COLOR_BGR2RGB))


@pytest.mark.parametrize("size", [(90, 120), (33, 17)])
def test_one_channel_of_a_black_and_white_picture_gives_what_three_equal_ones_give(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(sum(size))
    noise = rng.integers(0, 256, (max(2, size[0] // 4), max(2, size[1] // 4), 3), np.uint8)
    picture = np.asarray(cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)
    after = {"contrast": 0.6, "brightness": 1.3, "blur": 15, "blur_degrees": 70.0, "qualities": (30, 12, 40, 25)}
    grey = np.asarray(Image.fromarray(picture).convert("L").convert("RGB"))
    expected = degraded(grey, Degradation(**after))
    np.testing.assert_array_equal(degraded(picture, Degradation(True, saturation=2.0, **after)), expected)
    assert np.abs(expected.astype(int) - grey).mean() > 2


def test_draws_follow_probabilities_and_ranges_and_each_step_draws_for_itself() -> None:
    block = AugmentParams()
    draws = [drawn(chances(block), seed) for seed in range(DRAWS)]
    assert np.mean([each.black_and_white for each in draws]) == pytest.approx(0.5, abs=0.07)
    assert np.mean([each.blur is not None for each in draws]) == pytest.approx(0.8, abs=0.07)
    assert all(each.qualities for each in draws)
    blurs = {each.blur for each in draws if each.blur is not None}
    assert (min(blurs), max(blurs)) == (20, 55)
    assert all(10 <= len(each.qualities) <= 30 and set(each.qualities) <= set(range(10, 41)) for each in draws)
    other = AugmentParams(motion_blur_range=[5, 9])
    for seed, before in enumerate(draws[:50]):
        after = drawn(chances(other), seed)
        assert (before.blur is None) == (after.blur is None)
        assert (before.saturation, before.qualities) == (after.saturation, after.qualities)
