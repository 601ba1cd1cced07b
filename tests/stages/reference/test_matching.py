"""Finding an object by its photo: among other things in its colours, and the refusal when it is not there."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest
from composites import Composite, Thing, composite, thing
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.regions import overlap
from scenewright_stages.vision.subjects.matching.finding import ObjectFinder
from scenewright_stages.vision.subjects.matching.search import matched_features
from scenewright_stages.vision.subjects.matching.templates import views_of

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

NAMES = ("coffee", "flower", "tin", "marble")
LIKELY = 0.5


@cache
def sought(name: str) -> tuple[Thing, ObjectFinder]:
    shown = thing(name)
    return shown, ObjectFinder(shown.srgb, shown.alpha)


def by_colour_table(shown: Thing, scene: Composite) -> Mask:
    """The rival: pixels whose colours the object has more often than its surroundings, cleaned by GrabCut."""
    inside = shown.alpha > 0.9
    images = [(shown.srgb * 255).astype(np.uint8), (scene.srgb * 255).astype(np.uint8)]
    own, all_of_it = (
        cv2.calcHist([images[0]], [0, 1, 2], part, [16] * 3, [0, 256] * 3) for part in (inside.astype(np.uint8), None)
    )
    likely = own / np.maximum(all_of_it, 1)
    found = cv2.calcBackProject([images[1]], [0, 1, 2], (255 * likely).astype(np.float32), [0, 256] * 3, 1)
    rough = cv2.morphologyEx((found > 127).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    marks = np.where(rough > 0, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    if not rough.any() or rough.all():
        return rough > 0
    cv2.setRNGSeed(1)
    cv2.grabCut(images[1], marks, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    return np.asarray((marks == cv2.GC_FGD) | (marks == cv2.GC_PR_FGD))


@pytest.mark.proof
def test_two_hundred_composites() -> None:
    """100 scenes with the object, 50 among things in its colours, and 50 with those things alone."""
    plain, alike, rejected, missed, rival = [], [], [], [], []
    for number in range(200):
        shown, finder = sought(NAMES[number % 4])
        kind = ("plain", "plain", "alike", "absent")[number // 4 % 4]
        scene = composite(shown, 5000 + number, kind != "plain", kind == "absent")
        found = finder.find(scene.srgb)
        if kind == "absent":
            rejected.append(found.score < LIKELY)
        else:
            missed.append(found.score < LIKELY)
            (plain if kind == "plain" else alike).append(overlap(found.alpha >= 0.5, scene.mask))
            rival.append(overlap(by_colour_table(shown, scene), scene.mask))
    print(
        f"overlap {np.median(plain):.3f}, among things in its colours {np.median(alike):.3f}; absent rejected "
        f"{np.mean(rejected):.1%}, present rejected {np.mean(missed):.1%}; colour table {np.median(rival):.3f}"
    )
    assert np.median(plain) >= 0.85
    assert np.median(alike) >= 0.7
    assert np.mean(rejected) >= 0.9
    assert np.mean(missed) <= 0.05


def test_a_few_composites_and_a_colour_table_that_loses() -> None:
    ours, rival = [], []
    for number, name in enumerate(("coffee", "tin")):
        shown, finder = sought(name)
        scene = composite(shown, 40 + number, alike=True, absent=False, side=320)
        found = finder.find(scene.srgb)
        assert found.score >= LIKELY, name
        ours.append(overlap(found.alpha >= 0.5, scene.mask))
        rival.append(overlap(by_colour_table(shown, scene), scene.mask))
        empty = composite(shown, 40 + number, alike=True, absent=True, side=320)
        assert finder.find(empty.srgb).score < LIKELY, name
    print(f"overlaps {np.round(ours, 3)}, colour table {np.round(rival, 3)}")
    assert min(ours) >= 0.75
    assert np.mean(ours) >= np.mean(rival) + 0.2


def test_local_features_agree_on_how_a_structured_object_lies() -> None:
    shown = thing("flower")
    (view,) = views_of(shown.srgb, shown.alpha, (0.0,))
    height, width = view.alpha.shape
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 140, 0.8)
    scene = cv2.warpAffine(view.srgb, turn, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT)
    found = matched_features(view, np.asarray(scene, np.float32))
    assert found is not None and found.matches >= 20
    corners = np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1]], np.float64)
    assert np.abs(found.move @ corners - turn @ corners).max() < 4
    assert matched_features(view, np.full((height, width, 3), 0.5, np.float32)) is None


def test_the_same_picture_gives_the_same_answer_also_when_it_is_larger() -> None:
    shown, finder = sought("tin")
    scene = composite(shown, 41, alike=False, absent=False, side=320)
    first, again = finder.find(scene.srgb), finder.find(scene.srgb)
    np.testing.assert_array_equal(first.alpha, again.alpha)
    # Records round it to four digits. The last bit of a float32 depends on where arrays lie in memory.
    assert abs(first.score - again.score) < 1e-6
    large = np.asarray(cv2.resize(scene.srgb, (500, 500), interpolation=cv2.INTER_LINEAR), np.float32)
    truth = cv2.resize(scene.mask.astype(np.float32), (500, 500)) >= 0.5
    assert overlap(finder.find(large).alpha >= 0.5, truth) >= 0.8
