"""Fills of real photographs keep texture, show no seam and have the right colours; the usual baselines do not."""

from dataclasses import dataclass

import numpy as np
import pytest
from fill_quality import FillQuality, blurred_psnr, measure, psnr
from numpy.typing import NDArray
from photograph_holes import NAMES, Case, edge_replication, ring_case, telea, uncovered_cases

from scenewright_stages.vision.imaging.inpainting import complete
from scenewright_stages.vision.imaging.inpainting.background import background_side


def shifted_copy(case: Case) -> NDArray[np.float32]:
    """Copies from a quarter of the picture away: lively texture, and a seam."""
    other = np.roll(case.truth, [length // 4 for length in case.hole.shape], axis=(0, 1))
    return np.where(case.hole[..., None], other, case.srgb)


@dataclass(frozen=True)
class Holes:
    """One kind of holes and what `complete` puts into each."""

    cases: list[Case]
    fills: list[NDArray[np.float32]]


@pytest.fixture(scope="module", params=["rings", "slivers"])
def holes(request: pytest.FixtureRequest) -> Holes:
    cases = uncovered_cases() if request.param == "slivers" else [ring_case(name) for name in NAMES]
    return Holes(cases, [complete(case.srgb, case.hole, seed=1, depth_guide=case.depth) for case in cases])


def _measured(fills: list[NDArray[np.float32]], cases: list[Case]) -> list[FillQuality]:
    """Slivers are compared with the background they continue, rings with all that is known."""
    surroundings = [None if case.depth is None else background_side(case.depth, case.hole) for case in cases]
    return [measure(*each) for each in zip(fills, (case.hole for case in cases), surroundings, strict=True)]


def _median_energy(fills: list[NDArray[np.float32]], cases: list[Case]) -> float:
    return float(np.median([quality.gradient_energy for quality in _measured(fills, cases)]))


def _median_seam(fills: list[NDArray[np.float32]], cases: list[Case]) -> float:
    return float(np.median([quality.seam_step for quality in _measured(fills, cases)]))


@pytest.mark.slow
def test_fills_are_as_lively_as_their_surroundings_and_the_baselines_are_not(holes: Holes) -> None:
    assert 0.5 <= _median_energy(holes.fills, holes.cases) <= 2.0
    assert _median_energy([telea(case) for case in holes.cases], holes.cases) < 0.5
    replicated = _median_energy([edge_replication(case) for case in holes.cases], holes.cases)
    assert not 0.5 <= replicated <= 2.0


@pytest.mark.slow
def test_the_border_of_a_fill_does_not_show_and_that_of_a_plain_copy_does(holes: Holes) -> None:
    assert _median_seam(holes.fills, holes.cases) <= 1.5
    assert _median_seam([shifted_copy(case) for case in holes.cases], holes.cases) > 1.5


@pytest.mark.slow
def test_every_pixel_is_filled_and_far_better_than_black(holes: Holes) -> None:
    for case, fill in zip(holes.cases, holes.fills, strict=True):
        assert np.isfinite(fill).all()
        black = psnr(case.srgb, case.truth, case.hole)
        assert psnr(fill, case.truth, case.hole) >= black + 5.0, case.name


@pytest.mark.slow
def test_the_colours_are_not_far_below_those_of_telea_and_above_them_beside_objects(holes: Holes) -> None:
    """Telea's smear is a good guess of an outpaint's mean colour and a bad one of uncovered background."""
    gain = np.array(
        [
            blurred_psnr(fill, case.truth, case.hole) - blurred_psnr(telea(case), case.truth, case.hole)
            for case, fill in zip(holes.cases, holes.fills, strict=True)
        ]
    )
    beside_objects = holes.cases[0].depth is not None
    assert gain.mean() >= (2.0 if beside_objects else -0.7)
    assert (gain >= -0.5).mean() >= (0.8 if beside_objects else 0.4)


def test_the_measurements_tell_the_truth_from_black_and_from_blur() -> None:
    case = ring_case("chelsea", side=160)
    truth, black, blur = (measure(picture, case.hole) for picture in (case.truth, case.srgb, telea(case)))
    assert 0.3 < truth.gradient_energy < 3.0
    assert black.seam_step > 5 * truth.seam_step
    assert blur.gradient_energy < 0.2 * truth.gradient_energy
    empty = np.where(case.hole[..., None], np.float32(np.nan), case.srgb)
    assert measure(empty, case.hole).unfilled == case.hole.sum()
