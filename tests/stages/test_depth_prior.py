"""The depth prior: plausible on real photographs, honest about itself, and the same on every run."""

from __future__ import annotations

import time
from typing import Any

import cv2
import numpy as np
import pytest

from scenewright_stages.vision.geometry.depth import cues
from scenewright_stages.vision.geometry.depth.prior import PriorSettings, estimate_prior
from scenewright_stages.vision.geometry.framing import prepare
from scenewright_stages.vision.geometry.points import depth_edges

data = pytest.importorskip("skimage.data")
PHOTOGRAPHS = ["coffee", "chelsea", "rocket", "astronaut", "china", "flower"]


def photograph(name: str, resolution: int = 256) -> Any:
    if name in ("china", "flower"):
        datasets = pytest.importorskip("sklearn.datasets")
        pixels = datasets.load_sample_image(f"{name}.jpg")
    else:
        pixels = getattr(data, name)()
    return prepare(pixels.astype(np.float32) / 255, resolution).srgb


def region(image: Any, left: float, top: float, right: float, bottom: float) -> Any:
    """The part of an image between fractions of its width and height."""
    height, width = image.shape[:2]
    return image[int(top * height) : int(bottom * height), int(left * width) : int(right * width)]


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_depth_is_complete_in_range_and_says_what_it_assumes(name: str) -> None:
    srgb = photograph(name)
    prior = estimate_prior(srgb, PriorSettings(far_near_ratio=2.5, near_metres=2.0))
    assert prior.depth.shape == prior.confidence.shape == srgb.shape[:2]
    assert prior.depth.dtype == prior.confidence.dtype == np.float32
    assert prior.depth.min() >= 2.0 - 1e-5 and prior.depth.max() <= 5.0 + 1e-4
    assert np.percentile(prior.depth, 99.5) > 4.8 and np.percentile(prior.depth, 0.5) < 2.1
    assert prior.confidence.min() > 0 and prior.confidence.max() <= 0.6
    assert "prior" in prior.notes[0] and "60 degrees assumed" in prior.notes[2]
    assert prior.camera.field_of_view[0] == pytest.approx(60)


# Boxes (left, top, right, bottom as fractions) that a person would call near and far.
NEAR_AND_FAR = [
    ("coffee", (0.35, 0.3, 0.6, 0.7), (0.05, 0.0, 0.2, 0.1)),
    ("rocket", (0.485, 0.4, 0.515, 0.8), (0.55, 0.3, 0.65, 0.7)),
    ("astronaut", (0.35, 0.6, 0.6, 0.9), (0.55, 0.05, 0.7, 0.2)),
    ("astronaut", (0.35, 0.15, 0.5, 0.35), (0.55, 0.05, 0.7, 0.3)),
    ("china", (0.25, 0.4, 0.45, 0.8), (0.6, 0.05, 0.95, 0.35)),
    ("china", (0.05, 0.85, 0.95, 1.0), (0.6, 0.5, 0.85, 0.6)),
    ("flower", (0.35, 0.35, 0.6, 0.7), (0.75, 0.3, 0.95, 0.7)),
    ("chelsea", (0.45, 0.6, 0.65, 0.8), (0.85, 0.0, 1.0, 0.15)),
]


@pytest.mark.parametrize(("name", "near", "far"), NEAR_AND_FAR)
def test_what_a_person_calls_near_is_near(name: str, near: Any, far: Any) -> None:
    srgb = photograph(name)
    depth = estimate_prior(srgb).depth
    assert 1.35 * np.median(region(depth, *near)) < np.median(region(depth, *far))


def test_a_plain_ramp_would_not_pass_for_that() -> None:
    ranked = []
    for name, near, far in NEAR_AND_FAR:
        ramp = 1 / (1 / 3 + 2 / 3 * cues.height_in_image(*photograph(name).shape[:2]))
        ranked.append(1.35 * np.median(region(ramp, *near)) < np.median(region(ramp, *far)))
    assert ranked.count(False) >= 3


@pytest.mark.parametrize("name", ["china", "flower", "astronaut"])
def test_depth_edges_follow_the_edges_of_the_picture_without_a_halo(name: str) -> None:
    """Strong depth edges lie on picture edges; a blurred prior would spread them over a wide band."""
    srgb = photograph(name)
    prior = estimate_prior(srgb)
    grey = cv2.GaussianBlur(srgb.mean(axis=2), (0, 0), 1.0)
    contrast = np.abs(np.gradient(grey)).sum(axis=0)
    picture_edge = cv2.dilate((contrast > 0.03).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    strong = depth_edges(prior.depth, 0.1)
    blurred = np.asarray(cv2.GaussianBlur(prior.depth, (0, 0), 6), np.float32)
    assert strong.sum() > 0.3 * srgb.shape[1]
    assert picture_edge[strong].mean() > 0.85 > picture_edge.mean() + 0.1
    assert depth_edges(blurred, 0.1).sum() < 0.05 * strong.sum()


def test_open_ground_is_smooth() -> None:
    depth = estimate_prior(photograph("coffee")).depth
    table = region(depth, 0.8, 0.3, 1.0, 0.95)
    assert not depth_edges(table, 0.03).any()
    assert np.mean(np.diff(table, axis=0) <= 1e-3) > 0.9, "nearer towards the bottom"


def test_the_sky_is_found_where_there_is_one_and_only_there() -> None:
    shares = {name: cues.sky(photograph(name)).mean() for name in PHOTOGRAPHS}
    assert shares["china"] > 0.3 and shares["rocket"] > 0.6
    assert shares["coffee"] == shares["chelsea"] == 0


def test_haze_counts_only_where_it_grows_upwards() -> None:
    weights = {name: cues.haze_weight(cues.haze(photograph(name))) for name in PHOTOGRAPHS}
    assert weights["china"] > 0.6
    assert weights["chelsea"] == weights["flower"] == 0


def test_a_featureless_image_becomes_a_ramp() -> None:
    for level in (0.0, 0.5, 1.0):
        depth = estimate_prior(np.full((64, 96, 3), level, np.float32)).depth
        assert np.isfinite(depth).all() and depth[0].min() > depth[-1].max()


@pytest.mark.parametrize("shape", [(32, 32), (32, 512), (512, 32)])
def test_noise_and_odd_shapes_give_valid_depth(shape: tuple[int, int]) -> None:
    srgb = np.random.default_rng(0).random((*shape, 3), np.float32)
    prior = estimate_prior(srgb)
    assert prior.depth.shape == shape
    assert np.isfinite(prior.depth).all() and np.isfinite(prior.confidence).all()


def test_a_known_field_of_view_is_used() -> None:
    prior = estimate_prior(photograph("coffee"), horizontal_degrees=75.0)
    assert prior.camera.field_of_view[0] == pytest.approx(75)
    assert "given" in prior.notes[2]


def test_the_same_bytes_on_every_run_and_for_any_number_of_threads() -> None:
    srgb = photograph("china", 320)
    before = cv2.getNumThreads()
    results = []
    try:
        for threads in (1, 2, 2):
            cv2.setNumThreads(threads)
            prior = estimate_prior(srgb)
            results.append(prior.depth.tobytes() + prior.confidence.tobytes())
    finally:
        cv2.setNumThreads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("settings", [{"far_near_ratio": 1.0}, {"near_metres": 0.0}])
def test_impossible_assumptions_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        PriorSettings(**settings)


@pytest.mark.serial
def test_it_takes_a_fraction_of_a_second() -> None:
    srgb = photograph("china", 384)
    estimate_prior(srgb)
    seconds = []  # of processor time: the machine may be shared
    for _ in range(4):
        start = time.process_time()
        estimate_prior(srgb)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.3
