"""Cutting out: synthetic product photos with known masks, and what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.reference.params import WhiteParams
from scenewright_stages.reference.white import _check_cut, _ground_contact, read_object_mask
from scenewright_stages.vision.imaging.matting import refine_matte
from scenewright_stages.vision.subjects.cutting import cut_by_box, cut_from_border
from scenewright_stages.vision.subjects.scenery.props import draw_prop
from scenewright_stages.vision.subjects.scenery.standing import base_of

ROOT = Path(__file__).parents[3]
PHOTOS = 30


def product_photo(seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A drawn thing before a smooth background with a soft shadow, and its mask."""
    rng = np.random.default_rng(seed)
    prop = draw_prop(rng, 150, float(rng.uniform(8, 40)))
    height, width = 240, 320
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    tone = rng.uniform(0.55, 0.95, 3) * rng.uniform(0.9, 1.0)
    slope = 1 + rng.uniform(-0.1, 0.1) * (x - 0.5) + rng.uniform(-0.1, 0.1) * (y - 0.5)
    picture = tone[None, None] * slope[..., None]
    tall, wide = prop.alpha.shape
    top, left = (height - tall) // 2, (width - wide) // 2
    light = np.array([0.4, 0.7, -0.6]) / np.linalg.norm([0.4, 0.7, -0.6])
    shade = 0.45 + 0.55 * np.clip(prop.normals @ light, 0, 1)
    colours = np.clip(prop.colours * shade[..., None], 0, 1) ** (1 / 2.2)
    alpha = np.zeros((height, width), np.float32)
    alpha[top : top + tall, left : left + wide] = prop.alpha
    shadow = cv2.GaussianBlur(np.roll(alpha, (8, 6), (0, 1)), (0, 0), 9)
    picture = picture * (1 - 0.15 * shadow[..., None])
    window = picture[top : top + tall, left : left + wide]
    window += prop.alpha[..., None] * (colours - window)
    picture += rng.normal(0, 0.006, picture.shape)
    return np.clip(picture, 0, 1).astype(np.float32), alpha >= 0.5


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_products_before_plain_backgrounds_are_cut_out_or_refused() -> None:
    found, refused = [], 0
    for seed in range(PHOTOS):
        picture, truth = product_photo(seed)
        mask, score = cut_from_border(picture)
        if score < WhiteParams().minimum_score:
            refused += 1
        else:
            radius = round(WhiteParams().matte_radius * max(truth.shape))
            found.append(round(overlap(refine_matte(picture, mask, radius) >= 0.5, truth), 3))
    print(f"refused {refused}, least {sorted(found)[:6]}, median {np.median(found):.3f}")
    assert refused <= 3
    assert min(found) >= 0.97


def test_a_photo_with_a_busy_background_has_no_clear_object() -> None:
    coffee = cv2.imread(str(ROOT / "examples" / "inputs" / "coffee.png"))
    assert cut_from_border(coffee[..., ::-1].astype(np.float32) / 255)[1] < 0.5
    noise = np.random.default_rng(1).uniform(0, 1, (120, 160, 3)).astype(np.float32)
    assert cut_from_border(noise)[1] == 0
    assert cut_from_border(np.full((120, 160, 3), 0.8, np.float32))[1] == 0


def example(name: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A photo and its mask, drawn by hand."""
    inputs = ROOT / "examples" / "inputs"
    if name == "coffee":
        photo = cv2.imread(str(inputs / "coffee.png"))[..., ::-1]
        mask = cv2.imread(str(inputs / "coffee.mask.png"), cv2.IMREAD_GRAYSCALE)
    else:
        photo = load_sample_image("flower.jpg")
        mask = cv2.imread(str(Path(__file__).with_name("flower.mask.png")), cv2.IMREAD_GRAYSCALE)
    return photo.astype(np.float32) / np.float32(255), mask > 127


@pytest.mark.parametrize(("name", "room"), [("coffee", 0), ("coffee", 20), ("flower", 8)])
def test_a_tight_or_loose_box_cuts_out_cup_and_flower(name: str, room: int) -> None:
    photo, truth = example(name)
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    box = (columns[0] - room, rows[0] - room, columns[-1] + 1 + room, rows[-1] + 1 + room)
    mask = cut_by_box(photo, box)
    print(f"{name}, {room} pixels of room: overlap {overlap(mask, truth):.3f}")
    assert overlap(mask, truth) >= 0.95


@pytest.mark.parametrize(
    ("change", "reason"),
    [("empty", "MaskEmpty"), ("full", "MaskFull"), ("size", "MaskSizeDiffers"), ("text", "MaskUnreadable")],
)
def test_masks_that_cannot_be_right_are_refused_with_the_reason(tmp_path: Path, change: str, reason: str) -> None:
    mask = np.zeros((40, 50), np.uint8)
    if change == "full":
        mask[:] = 255
    path = tmp_path / "cup.mask.png"
    cv2.imwrite(str(path), mask)
    if change == "text":
        path.write_text("not a picture")
    with pytest.raises(SampleError) as refused:
        read_object_mask(path, (41, 50) if change == "size" else (40, 50))
    assert refused.value.reason == reason


def test_an_object_that_the_border_cuts_off_is_refused() -> None:
    inside = np.zeros((60, 60), bool)
    inside[20:40, 20:40] = True
    _check_cut(inside)
    inside[20:40, 40:] = True
    with pytest.raises(SampleError, match="cuts the object off"):
        _check_cut(inside)


def test_a_straight_lower_edge_does_not_put_the_camera_on_the_table() -> None:
    box, cup = np.zeros((200, 160), bool), np.zeros((200, 160), bool)
    box[40:180, 30:130] = True
    rows, columns = np.mgrid[:200, :160]
    cup[60:150, 40:120] = True
    for row in (60, 150):
        # 40 pixels of radius, seen from 30 degrees above.
        cup |= ((columns - 79.5) / 40) ** 2 + ((rows - row) / 20) ** 2 <= 1
    assert base_of(box).pitch < 8 < _ground_contact(box, None).pitch < 25
    assert _ground_contact(cup, None) == base_of(cup)
    assert _ground_contact(box, 5.0).pitch == 5.0
