"""Fills of real photographs keep texture, show no seam and have the right colours; the usual baselines do not."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from photograph_holes import NAMES, Case, edge_replication, ring_case, telea, uncovered_cases

from scenewright_stages.vision.inpainting import complete
from scenewright_stages.vision.inpainting.background import background_side
from scenewright_stages.vision.inpainting.quality import FillQuality, blurred_psnr, measure, psnr

Fill = Callable[[Case], NDArray[np.float32]]


def classic(case: Case) -> NDArray[np.float32]:
    return complete(case.srgb, case.hole, seed=1, depth_guide=case.depth)


def shifted_copy(case: Case) -> NDArray[np.float32]:
    """Copies from a quarter of the picture away: lively texture, and a seam."""
    other = np.roll(case.truth, [length // 4 for length in case.hole.shape], axis=(0, 1))
    return np.where(case.hole[..., None], other, case.srgb)


@pytest.fixture(scope="module")
def rings() -> list[Case]:
    return [ring_case(name) for name in NAMES]


@pytest.fixture(scope="module")
def slivers() -> list[Case]:
    return uncovered_cases()


def _measured(fill: Fill, cases: list[Case]) -> list[FillQuality]:
    return [
        measure(fill(case), case.hole, None if case.depth is None else background_side(case.depth, case.hole))
        for case in cases
    ]


def _median_energy(fill: Fill, cases: list[Case]) -> float:
    return float(np.median([quality.gradient_energy for quality in _measured(fill, cases)]))


@pytest.mark.slow
@pytest.mark.parametrize("holes", ["rings", "slivers"])
def test_fills_are_as_lively_as_their_surroundings_and_the_baselines_are_not(
    holes: str, request: pytest.FixtureRequest
) -> None:
    cases = request.getfixturevalue(holes)
    assert 0.5 <= _median_energy(classic, cases) <= 2.0
    assert _median_energy(telea, cases) < 0.5
    assert not 0.5 <= _median_energy(edge_replication, cases) <= 2.0


@pytest.mark.slow
@pytest.mark.parametrize("holes", ["rings", "slivers"])
def test_the_border_of_a_fill_does_not_show_and_that_of_a_plain_copy_does(
    holes: str, request: pytest.FixtureRequest
) -> None:
    cases = request.getfixturevalue(holes)
    ours = _measured(classic, cases)
    assert np.median([quality.seam_step for quality in ours]) <= 1.5
    assert all(quality.unfilled == 0 for quality in ours)
    assert np.median([quality.seam_step for quality in _measured(shifted_copy, cases)]) > 1.5


@pytest.mark.slow
@pytest.mark.parametrize("holes", ["rings", "slivers"])
def test_every_fill_is_far_better_than_a_black_hole(holes: str, request: pytest.FixtureRequest) -> None:
    for case in request.getfixturevalue(holes):
        black = psnr(case.srgb, case.truth, case.hole)
        assert psnr(classic(case), case.truth, case.hole) >= black + 5.0, case.name


@pytest.mark.slow
def test_what_a_moved_camera_uncovers_has_better_colours_than_telea_gives(slivers: list[Case]) -> None:
    gains = [
        blurred_psnr(classic(case), case.truth, case.hole) - blurred_psnr(telea(case), case.truth, case.hole)
        for case in slivers
    ]
    assert min(gains) >= -0.5
    assert np.mean(gains) >= 2.0


def test_the_measurements_tell_the_truth_from_black_and_from_blur() -> None:
    case = ring_case("chelsea", side=160)
    truth, black, blur = (measure(picture, case.hole) for picture in (case.truth, case.srgb, telea(case)))
    assert 0.3 < truth.gradient_energy < 3.0
    assert black.seam_step > 5 * truth.seam_step
    assert blur.gradient_energy < 0.2 * truth.gradient_energy
    empty = np.where(case.hole[..., None], np.float32(np.nan), case.srgb)
    assert measure(empty, case.hole).unfilled == case.hole.sum()
