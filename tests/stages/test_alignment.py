"""Smooth connection of predicted to known depth, against exact depth and an exact solver."""

from __future__ import annotations

import time
from typing import Any

import cv2
import numpy as np
import pytest
from synthetic import SEEDS, World, box_room, cameras_inside, cylinder_room, render, trace_depth

from scenewright_stages.backends.depth.depth_anything import AssumedRange, depth_from_relative
from scenewright_stages.vistadream.alignment import fit_affine, membrane, smooth_connect


def depth_and_prediction(seed: int) -> tuple[Any, Any, Any]:
    """True depth, a prediction (affine, and off by a smooth field of 3 %), and the hole mask."""
    world = box_room(seed)
    truth = trace_depth(world, cameras_inside(world, 6, 128, 96)[seed])
    rows, columns = np.mgrid[:96, :128]
    field = 1 + 0.03 * np.sin(columns / 21 + seed) * np.cos(rows / 17)
    hole = ((columns - 70) / 22) ** 2 + ((rows - 48) / 30) ** 2 < 1
    return truth.astype(np.float32), ((truth * field - 0.3) / 1.8).astype(np.float32), hole


def seam_jump(result: Any, truth: Any, hole: Any) -> float:
    """Mean relative step of the error between hole pixels and known pixels beside them."""
    error = result / truth - 1
    inside = hole & ~(cv2.erode(hole.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)
    jumps = []
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        neighbour_known = inside & np.roll(~hole, (down, right), (0, 1))
        jumps.append(np.abs(error - np.roll(error, (down, right), (0, 1)))[neighbour_known])
    return float(np.concatenate(jumps).mean())


def hole_error(result: Any, truth: Any, hole: Any) -> float:
    return float(np.abs(result / truth - 1)[hole].mean())


def affine_only(predicted: Any, reference: Any) -> Any:
    known = np.isfinite(reference)
    scale, shift = np.polyfit(predicted[known], reference[known], 1)
    return np.where(known, reference, scale * predicted + shift)


def blurred_100_times(predicted: Any, reference: Any) -> Any:
    """The connection of VistaDream: affine fit, and 100 rounds of a 15 x 15 blur that ends unanchored."""
    known = np.isfinite(reference)
    scale, shift = np.polyfit(predicted[known], reference[known], 1)
    aligned = scale * predicted + shift
    difference = np.where(known, reference - aligned, 0).astype(np.float32)
    anchor = difference.copy()
    for _ in range(100):
        anchored = np.where(known, anchor, difference)
        difference = np.asarray(cv2.blur(anchored, (15, 15)), np.float32)
    return aligned + difference


@pytest.mark.parametrize("seed", SEEDS)
def test_connected_depth_is_right_seamless_and_known_depth_stays_bit_identical(seed: int) -> None:
    truth, predicted, hole = depth_and_prediction(seed)
    reference = np.where(hole, np.nan, truth).astype(np.float32)
    connected = smooth_connect(predicted, reference)
    assert connected[~hole].tobytes() == truth[~hole].tobytes()
    assert hole_error(connected, truth, hole) < 0.01
    assert seam_jump(connected, truth, hole) < 0.005
    affine = affine_only(predicted, reference)
    assert seam_jump(affine, truth, hole) > 2 * seam_jump(connected, truth, hole)
    assert hole_error(affine, truth, hole) > hole_error(connected, truth, hole)
    blurred = blurred_100_times(predicted, reference)
    assert np.abs(blurred - truth)[~hole].max() > 1e-3, "the blur moves known depth"


@pytest.mark.parametrize("world", [box_room(0), box_room(1), cylinder_room(0)], ids=["box 0", "box 1", "cylinder 0"])
def test_disparity_up_to_scale_and_shift_gives_the_true_depth_of_an_object_in_the_hole(world: World) -> None:
    """A perfect affine-invariant model; the known depth, as rendered, is off by half a percent."""
    random, errors = np.random.default_rng(0), []
    for camera in cameras_inside(world, 6, 96, 72):
        view = render(world, camera, supersampling=1)
        objects = view.instance >= world.first_instance[1]
        hole = cv2.dilate(objects.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        answer = (3.0 / view.depth + 1.5).astype(np.float32)
        predicted = depth_from_relative(answer, AssumedRange(1.0, 3.0))
        seen = view.depth * (1 + 0.005 * random.normal(size=hole.shape))
        reference = np.where(hole, np.nan, seen).astype(np.float32)
        in_depth = affine_only(predicted, reference)
        errors.append([hole_error(each, view.depth, hole) for each in (smooth_connect(predicted, reference), in_depth)])
    ours, affine = np.mean(errors, axis=0)
    print(f"inverse {ours:.4f} affine {affine:.4f}")
    assert ours <= 0.02
    assert affine > 0.02, "a fit in depth must lose"


def test_a_large_hole_is_bridged_where_100_blurs_have_not_converged() -> None:
    """A linear residual must be continued linearly, however wide the hole is."""
    rows, columns = np.mgrid[:200, :360].astype(np.float64)
    predicted = np.full((200, 360), 4.0)
    predicted[0, 0] = 4.001
    truth = 4 + 2e-3 * columns
    known = (columns < 20) | (columns >= 340)
    reference = np.where(known, truth, np.nan)
    connected = smooth_connect(predicted, reference)
    blurred = blurred_100_times(predicted, reference)
    assert np.abs(connected - truth).max() < 2e-3
    assert np.abs(blurred - truth)[100, 20:340].max() > 0.02
    assert rows.shape == connected.shape


def test_a_prediction_that_runs_backwards_is_scaled_not_mirrored() -> None:
    truth, _, hole = depth_and_prediction(0)
    backwards = (8.0 - truth).astype(np.float32)
    reference = np.where(hole, np.nan, truth).astype(np.float32)
    fit = fit_affine(backwards, reference)
    assert fit.kind == "ratio" and fit.scale > 0 and fit.shift == 0
    assert smooth_connect(backwards, reference).min() > 0


def test_the_fit_ignores_a_tenth_of_gross_outliers_where_least_squares_does_not() -> None:
    random = np.random.default_rng(0)
    predicted = random.uniform(1, 3, (40, 50))
    reference = 2 * predicted + 0.5 + random.normal(0, 0.005, predicted.shape)
    outliers = random.random(predicted.shape) < 0.1
    reference[outliers] *= random.uniform(1.5, 3, outliers.sum())
    fit = fit_affine(predicted, reference)
    assert fit.kind == "affine" and fit.overlap == 2000
    assert fit.scale == pytest.approx(2, abs=0.02) and fit.shift == pytest.approx(0.5, abs=0.04)
    assert abs(np.polyfit(predicted.ravel(), reference.ravel(), 1)[1] - 0.5) > 0.1


def test_without_ten_common_pixels_the_prediction_stands_as_it_is() -> None:
    predicted = np.full((8, 8), 2.0)
    reference = np.full((8, 8), np.nan)
    assert fit_affine(predicted, reference).kind == "none"
    np.testing.assert_array_equal(smooth_connect(predicted, reference), np.float32(2.0))


def test_invalid_predictions_stay_invalid_in_the_hole_and_harm_nothing_else() -> None:
    truth, predicted, hole = depth_and_prediction(1)
    predicted = predicted.copy()
    predicted[40:44, 66:70] = np.inf
    predicted[5, 5] = np.nan
    connected = smooth_connect(predicted, np.where(hole, np.nan, truth))
    assert np.isnan(connected[40:44, 66:70]).all()
    assert np.isfinite(connected).sum() == connected.size - 16
    assert connected[5, 5] == truth[5, 5]


def test_a_fit_that_would_make_depth_negative_is_replaced() -> None:
    predicted = np.linspace(1, 10, 100).reshape(10, 10)
    reference = np.where(predicted > 5, 2 * predicted - 9, np.nan)
    assert fit_affine(predicted, reference).kind == "ratio"
    assert smooth_connect(predicted, reference).min() > 0


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        smooth_connect(np.ones((4, 4)), np.ones((4, 5)))


def holes(height: int = 96, width: int = 144) -> dict[str, Any]:
    rows, columns = np.mgrid[:height, :width]
    random = np.random.default_rng(0)
    return {
        "ring": (rows < 16) | (rows >= 80) | (columns < 20) | (columns >= 120),
        "half": columns > 70,
        "slivers": (columns % 31 < 9) & (rows > 20),
        "scattered known": random.random((height, width)) < 0.99,
        "one pixel": (rows == 40) & (columns == 40),
    }


@pytest.mark.parametrize("name", list(holes()))
def test_the_membrane_is_the_converged_solution(name: str) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    solver = pytest.importorskip("scipy.sparse.linalg")
    free = holes()[name]
    rows, columns = np.mgrid[: free.shape[0], : free.shape[1]]
    values = np.sin(columns / 17) + np.cos(rows / 11)
    solution = membrane(np.where(free, np.nan, values), ~free)
    numbers = np.where(free, np.cumsum(free).reshape(free.shape) - 1, -1)
    equations = sparse.lil_matrix((free.sum(), free.sum()))
    rhs = np.zeros(free.sum())
    for row, column in zip(*np.nonzero(free), strict=True):
        own = numbers[row, column]
        for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            i, j = row + down, column + right
            if 0 <= i < free.shape[0] and 0 <= j < free.shape[1]:
                equations[own, own] += 1
                if free[i, j]:
                    equations[own, numbers[i, j]] = -1
                else:
                    rhs[own] += values[i, j]
    exact = solver.spsolve(equations.tocsc(), rhs)
    assert np.abs(solution[free] - exact).max() < 5e-4
    np.testing.assert_array_equal(solution[~free], values[~free])


def test_a_membrane_without_boundary_is_zero_and_one_without_hole_is_its_input() -> None:
    values = np.random.default_rng(0).random((9, 7))
    assert not membrane(values, np.zeros((9, 7), bool)).any()
    np.testing.assert_array_equal(membrane(values, np.ones((9, 7), bool)), values)


def test_connecting_twice_gives_the_same_bytes() -> None:
    truth, predicted, hole = depth_and_prediction(2)
    reference = np.where(hole, np.nan, truth)
    assert smooth_connect(predicted, reference).tobytes() == smooth_connect(predicted, reference).tobytes()


@pytest.mark.serial
def test_a_third_of_384_by_256_pixels_is_connected_in_a_fifth_of_a_second() -> None:
    rows, columns = np.mgrid[:256, :384]
    known = (columns > 40) & (columns < 344) & (rows > 28) & (rows < 228)
    values = np.sin(columns / 40) + np.cos(rows / 31)
    membrane(values, known)
    seconds = []  # of processor time: the machine may be shared
    for _ in range(5):
        start = time.process_time()
        membrane(values, known)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.2
