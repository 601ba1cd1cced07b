"""What the interfaces promise is checked, and a broken promise is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scenewright_stages.backends.depth.interface import DepthEstimate, check_depth_estimate
from scenewright_stages.backends.inpaint.interface import check_fill_request, paste_known
from scenewright_stages.backends.runtime.errors import BackendContractError

IMAGE = np.random.default_rng(0).random((6, 8, 3), dtype=np.float32)
HOLE = np.zeros((6, 8), np.bool_)
HOLE[2:4, 3:6] = True
ESTIMATE = DepthEstimate(
    depth=np.full((6, 8), 2.0, np.float32),
    confidence=np.ones((6, 8), np.float32),
    intrinsics=np.array([[10.0, 0, 4], [0, 10, 3], [0, 0, 1]]),
    is_metric=True,
)


def test_known_pixels_survive_bit_for_bit_and_the_fill_is_clipped() -> None:
    answer = np.full_like(IMAGE, 1.7)
    pasted = paste_known(answer, IMAGE, HOLE)
    np.testing.assert_array_equal(pasted[~HOLE], IMAGE[~HOLE])
    assert (pasted[HOLE] == 1.0).all()


def test_what_a_backend_answers_outside_the_hole_does_not_matter() -> None:
    answer = np.full_like(IMAGE, np.nan)
    answer[HOLE] = 0.25
    pasted = paste_known(answer, IMAGE, HOLE)
    np.testing.assert_array_equal(pasted, np.where(HOLE[..., None], np.float32(0.25), IMAGE))


def test_a_fill_that_is_not_finite_or_of_another_size_is_refused() -> None:
    with pytest.raises(BackendContractError, match="not finite"):
        paste_known(np.full_like(IMAGE, np.nan), IMAGE, HOLE)
    with pytest.raises(BackendContractError, match="answered"):
        paste_known(IMAGE[:-1], IMAGE, HOLE)


@pytest.mark.parametrize(
    ("image", "hole", "message"),
    [
        (IMAGE.astype(np.float64), HOLE, "float32"),
        (IMAGE[..., 0], HOLE, "float32"),
        (IMAGE, HOLE.astype(np.uint8), "bool"),
        (IMAGE, HOLE[:-1], "bool"),
        (IMAGE, np.ones_like(HOLE), "every pixel"),
        (IMAGE * 300, HOLE, r"\[0, 1\]"),
        (IMAGE - 0.9, HOLE, r"\[0, 1\]"),
        (np.where(HOLE[..., None], IMAGE, np.float32(np.nan)), HOLE, "finite"),
        (np.where(HOLE[..., None], IMAGE, np.float32(np.inf)), HOLE, "finite"),
    ],
)
def test_requests_that_no_inpainter_can_serve_are_refused(image: np.ndarray, hole: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_fill_request(image, hole)


def test_values_under_the_hole_do_not_matter() -> None:
    check_fill_request(np.where(HOLE[..., None], np.float32(np.nan), IMAGE), HOLE)


def test_validity_is_finite_and_positive() -> None:
    depth = np.array([[1.0, 0.0, -1.0, np.nan, np.inf]], np.float32)
    estimate = DepthEstimate(depth, np.zeros_like(depth), None, False)
    assert estimate.valid.tolist() == [[True, False, False, False, False]]


def test_a_sound_estimate_passes() -> None:
    assert check_depth_estimate(ESTIMATE, 6, 8) is ESTIMATE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": ESTIMATE.depth[:-1]}, "depth is"),
        ({"depth": ESTIMATE.depth.astype(np.float64)}, "depth is"),
        ({"depth": np.full_like(ESTIMATE.depth, np.inf), "confidence": 0 * ESTIMATE.confidence}, "no pixel"),
        ({"depth": np.where(HOLE, np.float32(np.nan), ESTIMATE.depth)}, "above 0 where"),
        ({"confidence": ESTIMATE.confidence * 2}, "leaves"),
        ({"intrinsics": np.eye(4)}, "3x3"),
        ({"intrinsics": np.diag([-1.0, 1, 1])}, "focal"),
    ],
)
def test_a_broken_estimate_is_found(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(BackendContractError, match=message):
        check_depth_estimate(replace(ESTIMATE, **change), 6, 8)
