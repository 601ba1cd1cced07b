"""What `complete` promises whatever the picture: known pixels, no pixel left, clear refusals, same bytes."""

import cv2
import numba
import numpy as np
import pytest
from fill_quality import distance_to
from photograph_holes import outpaint, uncovered_case

from scenewright_stages.vision.imaging.inpainting import FillError, background, complete
from scenewright_stages.vision.imaging.inpainting.background import background_side, clear_of_silhouettes
from scenewright_stages.vision.imaging.inpainting.continuation import continued, continued_alike


def _texture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).random((height, width, 3), dtype=np.float32)


def test_without_a_hole_the_picture_is_returned_as_a_copy() -> None:
    picture = _texture(20, 30)
    filled = complete(picture, np.zeros((20, 30), bool), seed=0)
    assert np.array_equal(filled, picture)
    assert filled is not picture


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (3, 3), (5, 9), (17, 40), (64, 33)])
def test_tiny_pictures_are_filled_completely(shape: tuple[int, int]) -> None:
    picture = _texture(*shape)
    hole = np.zeros(shape, bool)
    hole[shape[0] // 2 :, shape[1] // 2 :] = True
    picture[hole] = np.nan
    filled = complete(picture, hole, seed=1)
    assert np.isfinite(filled).all()
    assert filled.min() >= 0
    assert filled.max() <= 1
    assert np.array_equal(filled[~hole], picture[~hole])


@pytest.mark.parametrize("side", ["top", "bottom", "left", "right", "checks", "all but one pixel"])
def test_holes_at_the_border_and_scattered_holes_are_filled(side: str) -> None:
    picture = _texture(40, 50)
    hole = np.zeros((40, 50), bool)
    if side == "checks":
        hole[::2, ::2] = True
    elif side == "all but one pixel":
        hole[:] = True
        hole[7, 9] = False
    else:
        hole[{"top": np.s_[:9], "bottom": np.s_[-9:], "left": np.s_[:, :9], "right": np.s_[:, -9:]}[side]] = True
    picture[hole] = np.nan
    filled = complete(picture, hole, seed=1)
    assert np.isfinite(filled).all()
    assert np.array_equal(filled[~hole], picture[~hole])


def test_a_constant_picture_is_continued_exactly_constant() -> None:
    picture = np.full((60, 80, 3), 0.25, np.float32)
    hole = np.zeros((60, 80), bool)
    hole[20:40, 30:60] = True
    picture[hole] = 1.0
    assert np.abs(complete(picture, hole, seed=0) - 0.25).max() < 1e-5


def test_a_periodic_texture_is_continued_in_phase() -> None:
    stripes = 0.5 + 0.4 * np.sin(2 * np.pi * np.arange(120) / 8)
    truth = np.repeat(np.tile(stripes, (90, 1))[..., None], 3, axis=-1).astype(np.float32)
    hole = np.zeros((90, 120), bool)
    hole[30:60, 40:80] = True
    error = np.abs(complete(np.where(hole[..., None], np.float32(0), truth), hole, seed=0) - truth)[hole].mean()
    flat_error = np.abs(truth[~hole].mean() - truth)[hole].mean()
    assert error < 0.04
    assert flat_error > 0.2


@pytest.mark.parametrize(
    ("picture", "hole", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), np.ones((8, 8), bool), "no known pixel"),
        (np.zeros((8, 8, 3), np.float64), np.zeros((8, 8), bool), "float32"),
        (np.zeros((8, 8), np.float32), np.zeros((8, 8), bool), "srgb must be"),
        (np.zeros((8, 8, 3), np.float32), np.zeros((8, 9), bool), "hole must be"),
        (np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), "hole must be"),
        (np.full((8, 8, 3), np.nan, np.float32), np.eye(8, dtype=bool), "finite"),
        (np.full((8, 8, 3), 1.5, np.float32), np.eye(8, dtype=bool), "0, 1"),
    ],
)
def test_what_cannot_be_filled_is_refused_with_its_reason(picture: np.ndarray, hole: np.ndarray, message: str) -> None:
    with pytest.raises(FillError, match=message):
        complete(picture, hole, seed=0)


def test_only_allowed_pixels_are_copied() -> None:
    """Left half red noise, right half blue noise: a hole between them is filled from the side that is allowed."""
    picture = _texture(60, 80) * np.float32(0.3)
    picture[:, :40, 0] += 0.7
    picture[:, 40:, 2] += 0.7
    hole = np.zeros((60, 80), bool)
    hole[10:50, 32:48] = True
    left = np.zeros((60, 80), bool)
    left[:, :32] = True
    filled = complete(picture, hole, seed=0, allowed_source=left)[hole]
    assert (filled[:, 0] > filled[:, 2]).all()
    unrestricted = complete(picture, hole, seed=0)[hole]
    assert (unrestricted[:, 0] < unrestricted[:, 2]).mean() > 0.2


def test_the_depth_guide_excludes_the_object_beside_the_hole_and_keeps_the_background() -> None:
    case = uncovered_case("china", "coffee", 12, (0.4, 0.55))
    assert case.depth is not None
    background = background_side(case.depth, case.hole)
    near, far = case.depth == 1.0, case.depth == 3.0
    assert background[far].all()
    assert not background[near & (distance_to(case.hole) < 40)].any()
    slanted = np.broadcast_to(np.linspace(2.0, 3.0, case.hole.shape[1], dtype=np.float32), case.hole.shape)
    assert background_side(slanted, case.hole)[~case.hole].all()


def test_an_object_that_only_the_border_of_a_picture_cuts_off_continues_and_a_moved_one_does_not() -> None:
    depth = np.full((60, 80), 3.0, np.float32)
    depth[20:40, 50:70] = 1.0
    nothing_seen = np.zeros((60, 80), bool)
    nothing_seen[:, 70:] = True
    assert background_side(depth, nothing_seen)[20:40, 50:70].all()
    moved = np.zeros((60, 80), bool)
    moved[20:40, 40:50] = True
    assert not background_side(depth, moved)[20:40, 50:70].any()


def test_a_hole_that_reaches_into_an_object_takes_nothing_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    depth, hole = np.full((80, 120), 3.0, np.float32), np.zeros((80, 120), bool)
    depth[:, :60] = 1.0
    hole[10:70, 60:70] = hole[36:44, 44:60] = True  # beside a tower, and in between two of its roofs
    beside = np.s_[20:60, 30:60]
    assert not background_side(depth, hole)[beside].any()
    assert background_side(depth, hole)[:, 70:].all()
    monkeypatch.setattr(background, "_continued", lambda threshold, hole: threshold)
    assert background_side(depth, hole)[beside].mean() > 0.1, "without the rest of the hole the tower counts as sky"


def test_the_dark_rim_of_an_object_is_not_copied_into_the_hole_beside_it() -> None:
    depth, hole = np.full((60, 80), 3.0, np.float32), np.zeros((60, 80), bool)
    depth[8:18, 24:60] = depth[18:44, 24:40] = 1.0
    hole[20:46, 40:52] = True
    rim = (cv2.dilate((depth == 1.0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0) & (depth == 3.0)
    picture = np.where(rim[..., None], np.float32(0.1), np.float32(0.8)).repeat(3, axis=2)
    picture[depth == 1.0] = (0.5, 0.1, 0.1)
    clear = clear_of_silhouettes(depth, hole)
    assert not clear[rim & ~hole].any() and clear[:, 64:].all()
    seen = np.where(hole, 0, depth).astype(np.float32)
    filled = complete(picture, hole, seed=0, allowed_source=clear_of_silhouettes(seen, hole), depth_guide=seen)[hole]
    copied = complete(picture, hole, seed=0, depth_guide=seen)[hole]
    print(f"clear {filled.min():.3f}, whole background side {copied.min():.3f}")
    assert filled.min() > 0.78
    assert copied.min() < 0.75, "the whole background side, rims included, must lose"


def test_a_continued_sky_is_not_darkened_by_the_trees_below_it() -> None:
    picture = np.full((60, 80, 3), 0.9, np.float32)
    picture[30:] = 0.1
    known = np.ones((60, 80), bool)
    known[:, 50:] = False
    sky = np.full_like(picture, 0.9)
    above = np.s_[24:30, 65:]
    assert np.abs(continued_alike(picture, known, sky)[above] - 0.9).max() < 0.05
    assert continued(picture, known)[above].mean() < 0.75


@pytest.mark.slow
def test_same_seed_same_bytes_whatever_the_threads_and_another_seed_differs() -> None:
    picture, hole = outpaint("china", side=200)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        single = complete(picture, hole, seed=5)
    finally:
        numba.set_num_threads(before)
    assert hole.sum() > 12_000  # large enough for more than one thread
    assert complete(picture, hole, seed=5).tobytes() == single.tobytes()
    assert complete(picture, hole, seed=6).tobytes() != single.tobytes()
    assert np.array_equal(single[~hole], picture[~hole])
