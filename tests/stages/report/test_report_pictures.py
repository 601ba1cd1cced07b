"""Pictures of a report: what their colours say is what the arrays hold."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from report_scenes import gradient_picture

from scenewright_stages.report.pictures import (
    Picture,
    depth_legend,
    depth_picture,
    evenly_spaced,
    mask_overlay,
    photograph,
    thumbnail,
)
from scenewright_stages.scenes.video import contact_sheet


def pixels_of(picture: Picture) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def test_near_is_warm_and_far_is_cold_as_the_legend_says() -> None:
    depth = np.linspace(1, 9, 50)[None].repeat(4, axis=0)
    shown = depth_picture(depth, "d", depth_range=(1.0, 9.0))
    pixels = pixels_of(shown.picture)[0].astype(int)
    assert pixels[0, 0] > pixels[0, 2] + 50
    assert pixels[-1, 2] > pixels[-1, 0]
    gradient, ticks = depth_legend(shown.near, shown.far)
    assert gradient.startswith("linear-gradient(90deg, #" + bytes(pixels[0].tolist()).hex())
    assert ticks[0] == (0.0, 1.0)
    assert ticks[-1][1] == pytest.approx(9.0)
    # Half-way along a legend that is linear in disparity: the harmonic mean of the ends.
    assert ticks[2][1] == pytest.approx(1.8)


def test_pixels_without_depth_are_grey_and_leave_the_range_alone() -> None:
    depth = np.linspace(1, 2, 64).reshape(8, 8)
    broken = depth.copy()
    broken[0, :4] = np.nan, np.inf, 0, -5
    shown = depth_picture(broken, "d")
    assert len(set(map(tuple, pixels_of(shown.picture)[0, :4].tolist()))) == 1
    assert tuple(pixels_of(shown.picture)[0, 0]) == (96, 96, 96)
    assert shown.far == pytest.approx(depth_picture(depth, "d").far, rel=0.02)


def test_a_depth_map_without_any_depth_is_all_grey() -> None:
    shown = depth_picture(np.full((4, 4), np.nan), "d")
    assert (pixels_of(shown.picture) == 96).all()


def test_the_mask_tints_masked_pixels_only() -> None:
    picture = np.full((32, 32, 3), 0.2, np.float32)
    mask = np.zeros((32, 32), bool)
    mask[:, 16:] = True
    pixels = pixels_of(mask_overlay(picture, mask, "m")).astype(int)
    assert np.abs(pixels[:, :8] - 51).max() <= 3
    assert (pixels[:, 24:, 0] - pixels[:, 24:, 2] > 100).all()
    with pytest.raises(ValueError, match="differ in size"):
        mask_overlay(picture, mask[:5], "m")


def test_photographs_keep_their_colours() -> None:
    picture = gradient_picture(64, 64)
    assert np.abs(pixels_of(photograph(picture, "p")) / 255 - picture).mean() < 0.02


def test_images_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        photograph(np.full((4, 4, 3), np.nan), "p")


def test_thumbnails_shrink_and_never_grow() -> None:
    assert (thumbnail(gradient_picture(60, 40), 30, "t").width, 30)[0] == 30
    assert thumbnail(gradient_picture(60, 40), 300, "t").width == 60


def test_contact_sheets_place_frames_in_reading_order() -> None:
    frames = [np.full((20, 30, 3), level, np.uint8) for level in (10, 60, 110, 160, 210)]
    sheet = contact_sheet(frames, columns=3)
    assert sheet.shape == (2 * 26 + 6, 3 * 36 + 6, 3)
    assert [int(sheet[16, 20 + 36 * column, 0]) for column in range(3)] == [10, 60, 110]
    assert [int(sheet[42, 20 + 36 * column, 0]) for column in range(3)] == [160, 210, 255]


@pytest.mark.parametrize(("frames", "columns"), [([], 1), ([(2, 2), (3, 3)], 1), ([(2, 2)], 0)])
def test_impossible_sheets_are_refused(frames: list[tuple[int, int]], columns: int) -> None:
    with pytest.raises(ValueError):
        contact_sheet([np.zeros((*size, 3), np.uint8) for size in frames], columns)


def test_frames_are_spread_from_first_to_last() -> None:
    assert evenly_spaced(75, 4) == [0, 25, 49, 74]
    assert evenly_spaced(3, 12) == [0, 1, 2]
