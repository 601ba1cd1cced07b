"""Learned matches: right under a known change of the picture, equal for any number of threads, and never silent."""

from __future__ import annotations

import runpy
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.places.captures import estimation
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.estimation import Registration
from scenewright_stages.vision.places.matching import models, photographs
from scenewright_stages.vision.places.matching.photographs import chosen_pairs, features_of, matches_of
from scenewright_stages.vision.places.matching.xfeat import DESCRIPTOR, Features

INPUTS = Path(__file__).parents[2] / "examples" / "inputs"


def quiet(share: float, message: str) -> None:
    assert 0 <= share <= 1


def keypoints(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    found = cv2.SIFT_create(300).detect(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), None)
    return np.array([each.pt for each in found], np.float32) + np.float32(0.5)


@pytest.fixture(scope="module")
def pair() -> tuple[list[NDArray[np.uint8]], NDArray[np.float64]]:
    """A photograph, the same as seen from elsewhere on a plane, and the change."""
    picture = cv2.imread(str(INPUTS / "china.jpg"))[::2, ::2, ::-1].copy()
    change = np.array([[0.85, -0.2, 40.0], [0.15, 0.9, -5.0], [2e-4, 1e-4, 1.0]])
    height, width = picture.shape[:2]
    return [picture, cv2.warpPerspective(picture, change, (width, height))], change


def matched(pictures: list[NDArray[np.uint8]], threads: int) -> tuple[list[Features], NDArray[np.uint32]]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        places = [keypoints(each) for each in pictures]
        features = features_of([lambda each=each: each for each in pictures], places, 640, quiet)
        return features, matches_of(features, [(0, 1)], quiet)[0]
    finally:
        assert torch.get_num_threads() == threads
        torch.set_num_threads(before)


def test_matches_are_right_and_equal_for_any_number_of_threads(
    pair: tuple[list[NDArray[np.uint8]], NDArray[np.float64]],
) -> None:
    pictures, change = pair
    features, rows = matched(pictures, 1)
    again, same = matched(pictures, 2)
    assert (rows == same).all()
    assert all(bool((one.descriptors == two.descriptors).all()) for one, two in zip(features, again, strict=True))
    first, second = (keypoints(each) for each in pictures)
    moved = cv2.perspectiveTransform(first[None].astype(np.float64), change)[0]
    error = np.linalg.norm(moved[rows[:, 0]] - second[rows[:, 1]], axis=1)
    nearest = (features[0].descriptors @ features[1].descriptors.T).argmax(dim=1)
    one, two = features[0].numbers.numpy(), features[1].numbers[nearest].numpy()
    alone = np.linalg.norm(moved[one] - second[two], axis=1)
    print(f"{len(rows)} matches, {(error < 3).mean():.0%} right; nearest descriptors {(alone < 3).mean():.0%}")
    assert len(rows) > 60
    assert (error < 3).mean() > 0.85 > (alone < 3).mean()


def test_nothing_matches_nothing(pair: tuple[list[NDArray[np.uint8]], NDArray[np.float64]]) -> None:
    empty = np.zeros((0, 2), np.float32)
    features = features_of([lambda: pair[0][0]] * 2, [keypoints(pair[0][0]), empty], 640, quiet)
    assert matches_of(features, [(0, 1)], quiet)[0].shape == (0, 2)


def described(count: int) -> list[Features]:
    """Photographs along a line: each shares half of its descriptors with the next."""
    random = torch.Generator().manual_seed(0)
    pool = torch.nn.functional.normalize(torch.randn(16 * (count + 1), DESCRIPTOR, generator=random), dim=1)
    return [
        Features(torch.zeros(32, 2), pool[16 * at : 16 * at + 32], torch.arange(32), (64, 48)) for at in range(count)
    ]


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("count", [2, 20, 21, 60, 61, 90])
def test_many_photographs_are_not_matched_each_with_each(count: int, in_order: bool) -> None:
    pairs = chosen_pairs(described(count), in_order)
    assert pairs == sorted(set(pairs))
    assert all(0 <= one < other < count for one, other in pairs)
    assert set(pairwise(range(count))) <= set(pairs)
    few = count <= (20 if in_order else photographs.ALL_PAIRS)
    assert (len(pairs) == count * (count - 1) // 2) == few


@pytest.mark.parametrize(("matching", "missing"), [("auto", 0), ("auto", 3), ("sift", 3), ("learned", 0)])
def test_missing_weights_are_said_where_they_are_wanted(
    matching: estimation.Matching, missing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert estimation._reluctance(matching, missing) == ""
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    models.networks.cache_clear()
    with pytest.raises(models.ModelsNotInstalled, match="install_matching_models"):
        models.networks()
    if matching == "learned":
        with pytest.raises(CaptureError, match="install_matching_models"):
            estimation._reluctance(matching, missing)
    else:
        found = estimation._reluctance(matching, missing)
        assert ("install_matching_models" in found) == (matching == "auto" and missing > 0)


def test_notes_say_what_learned_matches_brought() -> None:
    found = Registration(("a", "b"), ("c",), 200, 0.4, learned=True, reason="SIFT placed 1 of 3 photographs")
    assert found.notes()[0] == "SIFT placed 1 of 3 photographs"
    assert "c" in found.notes()[1]


def test_records_name_what_is_installed() -> None:
    tool = runpy.run_path(str(INPUTS.parents[1] / "tools" / "install_matching_models.py"))
    assert f"{models.PACKAGE}=={models.VERSION} " in tool["WANTED"].read_text()
    assert tool["FOLDER"] / tool["WEIGHTS"] == models.FOLDER / models.WEIGHTS


@pytest.mark.proof
def test_learned_matches_place_photographs_that_sift_leaves_out(tmp_path: Path) -> None:
    beach = INPUTS / "brighton-beach" / "images"
    taken = {path.name: path for path in sorted(beach.iterdir())[::2]}
    counts = {}
    for matching in ("sift", "auto"):
        settings = estimation.EstimationSettings(matching=matching)
        found = estimation.estimate_poses(taken, tmp_path / matching, settings, quiet)
        counts[matching] = len(found.registered)
    print(counts)
    assert counts["sift"] < counts["auto"] == 9
