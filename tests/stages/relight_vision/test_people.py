"""Finding people without weights: the astronaut, variants of her, figures on textures, and pictures of nobody."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data
from astronaut import outline, photograph, variants
from numpy.typing import NDArray
from skimage.feature import Cascade
from synthetic import box_room, cameras_inside, cylinder_room, render
from synthetic_person import figure, over, overlap

from scenewright_stages.contract.errors import SampleRejected
from scenewright_stages.relight.shading import Light, direction_of, shade
from scenewright_stages.vision.imaging.colour import linear_from_srgb, srgb_from_linear, uint8_from_unit
from scenewright_stages.vision.imaging.matting import NoSubject, SubjectMatte
from scenewright_stages.vision.subjects.people import find_person, portrait_box
from scenewright_stages.vision.subjects.people.faces import find_faces

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@pytest.fixture(scope="module")
def found() -> SubjectMatte:
    return find_person(photograph())


def _box_cut(srgb: Floats) -> Mask:
    """GrabCut from a box alone, as one would use it first."""
    labels = np.zeros(srgb.shape[:2], np.uint8)
    height, width = labels.shape
    box = (int(0.03 * width), int(0.02 * height), int(0.94 * width), int(0.97 * height))
    cv2.setRNGSeed(0)
    image = np.ascontiguousarray(uint8_from_unit(srgb)[..., ::-1])
    cv2.grabCut(image, labels, box, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_RECT)
    return (labels & 1).astype(bool)


def _template(srgb: Floats) -> Mask:
    """Head and shoulders drawn around the face, whatever the picture shows."""
    face = find_faces(cv2.cvtColor(uint8_from_unit(srgb), cv2.COLOR_RGB2GRAY))[0]
    mask = np.zeros(srgb.shape[:2], np.uint8)
    x, y, size = face.x, face.y, face.size
    cv2.ellipse(mask, (round(x), round(y - 0.1 * size)), (round(0.75 * size), round(size)), 0, 0, 360, 1, -1)
    sides = [(0.5, 0.6), (0.6, 1.0), (1.35, 1.5), (1.75, 2.4), (1.8, 9.0)]
    right = [(x + across * size, y + down * size) for across, down in sides]
    left = [(x - across * size, y + down * size) for across, down in reversed(sides)]
    cv2.fillPoly(mask, [np.rint(right + left).astype(np.int32)], 1)
    return mask > 0


def test_the_astronaut_is_found_without_her_helmet(found: SubjectMatte) -> None:
    truth = outline()
    template, cut = overlap(_template(photograph()), truth), overlap(_box_cut(photograph()), truth)
    mine = overlap(found.mask, truth)
    print(f"IoU: finder {mine:.3f}, head-and-shoulders template {template:.3f}, GrabCut from a box {cut:.3f}")
    assert mine >= 0.9
    assert template < 0.9
    assert cut < 0.9


@pytest.mark.slow
def test_she_is_found_under_ten_flips_cuts_scales_and_backgrounds() -> None:
    mine, template, cut = [], [], []
    for image, truth in variants():
        mine.append(overlap(find_person(image).mask, truth))
        template.append(overlap(_template(image), truth))
        cut.append(overlap(_box_cut(cv2.resize(image, None, fx=0.25, fy=0.25)).repeat(4, 0).repeat(4, 1)
                           [: truth.shape[0], : truth.shape[1]], _fitting(truth)))  # fmt: skip
    print("IoU:", *(f"{value:.3f}" for value in mine))
    assert min(mine) >= 0.85
    assert min(template) < 0.85
    assert min(cut) < 0.85


def _fitting(truth: Mask) -> Mask:
    """The part of a mask that four-fold blocks of a quarter of it cover."""
    height, width = (4 * round(side / 4) for side in truth.shape)
    return truth[:height, :width]


@pytest.mark.slow
def test_ten_other_variants_that_nothing_was_set_by() -> None:
    assert min(overlap(find_person(image).mask, truth) for image, truth in variants(100)) >= 0.9


def test_the_matte_is_soft_at_the_outline_and_certain_elsewhere(found: SubjectMatte) -> None:
    alpha = found.alpha
    assert (alpha.dtype, alpha.shape) == (np.float32, (512, 512))
    assert (alpha.min(), alpha.max()) == (0.0, 1.0)
    soft = (alpha > 0) & (alpha < 1)
    assert 0.005 < soft.mean() < 0.1
    away = cv2.distanceTransform((~(found.mask ^ cv2.erode(found.mask.astype(np.uint8), np.ones((3, 3))).astype(bool)))
                                 .astype(np.uint8), cv2.DIST_L2, 3)  # fmt: skip
    assert not soft[away > 40].any()
    np.testing.assert_array_equal(found.mask, alpha >= 0.5)
    assert found.method == "classic-face"
    assert 0 < found.score <= 1


def test_same_picture_same_bytes_whatever_the_threads(found: SubjectMatte) -> None:
    before = cv2.getNumThreads()
    try:
        for threads in (1, 2):
            cv2.setNumThreads(threads)
            np.testing.assert_array_equal(find_person(photograph()).alpha, found.alpha)
    finally:
        cv2.setNumThreads(before)


def _room(seed: int, side: int = 256) -> Floats:
    world = (box_room, cylinder_room)[seed % 2](seed % 3)
    return render(world, cameras_inside(world, 6, side, side, seed=seed)[seed % 6], supersampling=1).linear


@pytest.mark.slow
def test_figures_on_twenty_textures_are_found_in_their_box() -> None:
    mine, boxes = [], []
    for seed in range(20):
        person = figure(seed)
        front = shade(person.albedo_linear, person.normals, Light(direction_of(40 + 70 * seed, 40), 0.4))
        image = srgb_from_linear(over(person, front, _room(seed)))
        mask = find_person(image, person.box).mask
        mine.append(overlap(mask, person.alpha > 0.5))
        left, top, right, bottom = (int(edge) for edge in person.box)
        whole = np.zeros_like(mask)
        whole[top:bottom, left:right] = True
        boxes.append(overlap(whole, person.alpha > 0.5))
    print(f"median IoU: finder {np.median(mine):.3f}, the box itself {np.median(boxes):.3f}")
    assert np.median(mine) >= 0.9
    assert np.median(boxes) < 0.9


@pytest.mark.slow
def test_pictures_of_nobody_are_rejected() -> None:
    empty = [srgb_from_linear(_room(seed, 160)) for seed in range(40)]
    empty += [
        _rgb(getattr(skimage.data, name)()) for name in ("coffee", "chelsea", "rocket", "brick", "grass", "gravel")
    ]
    noise = np.random.default_rng(0)
    empty += [noise.random((128, 128, 3), np.float32), np.full((96, 128, 3), 0.5, np.float32)]
    empty += [_rgb(skimage.data.moon()), _rgb(skimage.data.page())]
    rejected = 0
    for image in empty:
        try:
            find_person(image)
        except NoSubject as problem:
            assert isinstance(problem, SampleRejected)
            assert problem.reason == "no-subject"
            rejected += 1
    assert len(empty) == 50
    assert rejected >= 0.95 * len(empty)


def _rgb(image: NDArray[np.uint8]) -> Floats:
    colours = image[..., :3] if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    return np.ascontiguousarray(colours).astype(np.float32) / np.float32(255)


def test_the_cascade_finds_the_face_that_scikit_images_own_evaluation_finds() -> None:
    grey = cv2.cvtColor(uint8_from_unit(photograph()), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (192, 192), interpolation=cv2.INTER_AREA)
    cascade = Cascade(skimage.data.lbp_frontal_face_cascade_filename())
    theirs = cascade.detect_multi_scale(small, 1.1, 1, (24, 24), (192, 192))
    assert len(theirs) == 1
    their = np.array([theirs[0][name] for name in ("c", "r", "width")]) * 512 / 192
    best = find_faces(grey)[0]
    assert abs(best.x - (their[0] + their[2] / 2)) < 8
    assert abs(best.y - (their[1] + their[2] / 2)) < 8
    assert abs(best.size - their[2]) < 12
    upside_down = np.ascontiguousarray(grey[::-1])
    assert not any(abs(face.x - best.x) < 30 and abs(511 - face.y - best.y) < 30 for face in find_faces(upside_down))


def test_a_box_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="holds nothing"):
        find_person(photograph(), (600.0, 10.0, 700.0, 90.0))


def test_the_portrait_box_holds_head_and_shoulders() -> None:
    box = portrait_box(photograph())
    assert box is not None
    left, top, right, bottom = box
    rows, columns = np.nonzero(outline()[:300])
    assert left <= columns.min() + 10
    assert right >= columns.max() - 10
    assert top <= rows.min() + 2
    assert bottom == 512
    assert portrait_box(np.full((64, 64, 3), 0.5, np.float32)) is None


def test_linear_pictures_are_not_expected() -> None:
    """Its colours are perceptual: the same picture in linear light gives a worse mask, so the space matters."""
    dark = overlap(find_person(linear_from_srgb(photograph())).mask, outline())
    assert dark < overlap(find_person(photograph()).mask, outline())
