"""Does the data set teach? A small network learns an object from it and finds it where it has never seen it.

The tin is looked for in rendered rooms, the cup of the examples in its own photograph, taken again.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pipeline_steps import Steps, reduced
from teaching import SIDE, ColourTable, SmallUnet, predicted, score, stacked, trained
from teaching_world import photo, room

from scenewright_stages.photographs.pictures import bytes_from_linear, linear_from_bytes
from scenewright_stages.reference.augment import chances
from scenewright_stages.reference.degradation import degraded, drawn
from scenewright_stages.reference.params import PLACES, AugmentParams, Place
from scenewright_stages.vision.subjects.scenery.panorama import place

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

IMAGES, EMPTY, ROOMS, RETAKEN = 320, 40, 120, 60
SEEDS = (0, 1, 2)
BLOCK: dict[str, Any] = {
    "perspectives": {"angles": [-30.0, -15.0, 0.0, 15.0, 30.0], "elevations": [0.0, 4.0, -4.0]},
    "prompts": {"count": 8},
    "scenes": {
        "iterations": 7,
        "size": [160, 160],
        "emptyShare": EMPTY / (IMAGES - EMPTY),
        "decoys": [1, 4],
        "objectScale": [0.3, 0.65],
    },
}
DEGRADED = AugmentParams(motion_blur_range=[4, 11], compression_iterations_range=[2, 6])
"""Blur in proportion to images of a quarter of the usual size."""


def made_by_the_pipeline(folder: Path, thing: tuple[Bytes, Mask], seed: int) -> tuple[Bytes, Mask]:
    """The 320 images of a data set with exact masks, at the network's size."""
    steps = Steps(folder, *thing, BLOCK, seed)
    pairs = [
        (reduced(scene.image, SIDE), reduced(scene.mask.astype(np.float32), SIDE) > 0.5) for scene in steps.scenes()
    ]
    assert len(pairs) == IMAGES
    return stacked(pairs)


def copied_and_pasted(seed: int, by_hand: bool) -> tuple[Bytes, Mask]:
    """The front of the object anywhere on photographs of the pipeline's places, as many images.

    Args:
        seed: of all draws.
        by_hand: all on one photograph of each place. Else on another part of a place each time, and with as many
            images without the object as the pipeline makes.
    """
    random = np.random.default_rng([seed, 5])
    photographs = [part_of(name, 128, 384, 256) for name in PLACES]
    pairs = []
    for number in range(IMAGES):
        image = photographs[number % len(PLACES)].copy() if by_hand else backdrop(random)
        shown = np.zeros((SIDE, SIDE), bool)
        if by_hand or number >= EMPTY:
            small, cover = front(random.uniform(0.3, 0.65) * SIDE)
            top, left = (int(random.integers(0, SIDE - extent + 1)) for extent in cover.shape)
            shown[top : top + cover.shape[0], left : left + cover.shape[1]] = cover
            image[shown] = small[cover]
        pairs.append((image, shown))
    return stacked(pairs)


def front(side: float) -> tuple[Bytes, Mask]:
    """The object cut out of its photo, its longer side that many pixels."""
    picture, mask = product()
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    window = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    thing, inside = picture[window], mask[window].astype(np.float32)
    scale = side / max(inside.shape)
    size = (round(inside.shape[1] * scale), round(inside.shape[0] * scale))
    small = np.asarray(cv2.resize(thing, size, interpolation=cv2.INTER_AREA), np.uint8)
    return small, np.asarray(cv2.resize(inside, size, interpolation=cv2.INTER_AREA) > 0.5)


def backdrop(random: np.random.Generator) -> Bytes:
    """A part of one of the places' photographs."""
    name = PLACES[random.integers(len(PLACES))]
    extent = int(random.integers(100, 260))
    top, left = int(random.integers(120, 400 - extent // 2)), int(random.integers(0, 1024 - extent))
    return part_of(name, top, left, extent)


def part_of(name: Place, top: int, left: int, extent: int) -> Bytes:
    """A square part of a place's photograph at the network's size."""
    part = np.clip(place(name).picture[top : top + extent, left : left + extent], 0, 1).astype(np.float32)
    return np.asarray(cv2.resize(bytes_from_linear(part), (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def worn(images: Bytes, seed: int) -> Bytes:
    """Every image with a degradation of its own."""
    how = chances(DEGRADED)
    return np.stack([degraded(image, drawn(how, 10_000 * seed + number)) for number, image in enumerate(images)])


@cache
def product() -> tuple[Bytes, Mask]:
    """The object's photo and mask."""
    return photo()


def cup() -> tuple[Bytes, Mask]:
    """The photograph of the coffee example and its mask."""
    stem = str(Path(__file__).parents[3] / "examples" / "inputs" / "coffee")
    picture = cv2.cvtColor(cv2.imread(f"{stem}.png", cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return np.asarray(picture, np.uint8), cv2.imread(f"{stem}.mask.png", cv2.IMREAD_GRAYSCALE) > 127


def retaken(seed: int) -> tuple[Bytes, Mask]:
    """The photograph of the cup from other places, nearer and farther, in other light, sharp or not; on plain grey."""
    picture, mask = cup()
    random = np.random.default_rng([seed, 9])
    height, width = mask.shape
    large = 2 * SIDE
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    rows, columns = np.nonzero(mask)
    middle = np.array([np.ptp(columns) / 2 + columns.min(), np.ptp(rows) / 2 + rows.min()])
    pairs = []
    for _ in range(RETAKEN):
        zoom = large / width * random.uniform(0.85, 1.2)
        moved = (corners - middle) * zoom + large / 2 + large * random.uniform(-0.07, 0.07, (4, 2))
        moved += large * random.uniform(-0.06, 0.06, 2)
        view = cv2.getPerspectiveTransform(corners, moved.astype(np.float32))
        shown = cv2.warpPerspective(picture, view, (large, large), borderValue=(114, 114, 114))
        cover = cv2.warpPerspective(mask.astype(np.float32), view, (large, large))
        gains = random.uniform(0.6, 1.4) * (1 + random.uniform(-0.12, 0.12, 3))
        shown = bytes_from_linear(
            (linear_from_bytes(np.asarray(shown, np.uint8)) * gains).clip(0, 1).astype(np.float32)
        )
        if random.uniform() < 0.3:
            shown = np.asarray(cv2.GaussianBlur(shown, (0, 0), random.uniform(0.5, 1.5)), np.uint8)
        pairs.append((reduced(shown, SIDE), reduced(cover, SIDE) > 0.5))
    return stacked(pairs)


@cache
def lesson(seed: int) -> tuple[Bytes, Mask]:
    """The data set of a seed, made once for all proofs."""
    with TemporaryDirectory() as folder:
        return made_by_the_pipeline(Path(folder), product(), seed)


@cache
def learned(seed: int) -> SmallUnet:
    """The network that saw this data set."""
    return trained(*lesson(seed), seed)


@cache
def unseen(seed: int) -> tuple[Bytes, Mask]:
    """The hold-out rooms of a seed."""
    return stacked([room(1000 * seed + number, SIDE) for number in range(ROOMS)])


@pytest.mark.proof
@pytest.mark.parametrize("seed", SEEDS)
def test_a_small_network_learns_the_object_from_classic_scenes(seed: int) -> None:
    rooms, truths = unseen(seed)
    table = ColourTable(*lesson(seed))
    ours = score(predicted(learned(seed), rooms), truths)
    tables = [score(table.predicted(rooms, least), truths) for least in np.linspace(0.1, 0.9, 17)]
    colours = max(tables, key=lambda found: found.overlap)
    plain, pasted = (
        score(predicted(trained(*copied_and_pasted(seed, by_hand), seed), rooms), truths) for by_hand in (True, False)
    )
    print(f"seed {seed}: pipeline {ours}, colour table {colours}, copy and paste {plain}, varied {pasted}")
    assert ours.overlap >= 0.75
    assert ours.overlap >= colours.overlap + 0.1
    assert ours.alarms <= 0.1
    # Copy and paste draws the outline of what it finds well enough, but finds it in rooms without the object too: what
    # it lacks shows over all rooms. Seeds 0 to 2 read 0.482, 0.353 and 0.482 more than by hand, and 0.391, 0.232 and
    # 0.315 more than the varied one.
    assert ours.over_all >= plain.over_all + 0.3
    assert ours.over_all >= max(0.75, max(each.over_all for each in tables) + 0.1)
    assert ours.over_all >= pasted.over_all + 0.2
    assert ours.overlap >= max(plain.overlap, pasted.overlap) + 0.1


@pytest.mark.proof
@pytest.mark.parametrize("seed", SEEDS)
def test_a_small_network_finds_the_object_in_its_photograph_taken_again(seed: int, tmp_path: Path) -> None:
    images, masks = made_by_the_pipeline(tmp_path, cup(), seed)
    photographs, truths = retaken(seed)
    answers = predicted(trained(images, masks, seed), photographs)
    found = (answers & truths).sum(axis=(1, 2)) / (answers | truths).sum(axis=(1, 2))
    print(f"seed {seed}: photograph taken again {found.mean():.3f}, worst tenth {np.quantile(found, 0.1):.3f}")
    assert found.mean() >= 0.75


@pytest.mark.proof
@pytest.mark.parametrize("seed", SEEDS)
def test_degraded_copies_help_where_pictures_are_degraded(seed: int) -> None:
    (images, masks), (rooms, truths) = lesson(seed), unseen(seed)
    poor = worn(rooms, seed + 50)
    both = trained(np.concatenate([images, worn(images, seed)]), np.concatenate([masks, masks]), seed)
    clean, degraded_rooms = (score(predicted(both, each), truths) for each in (rooms, poor))
    before, without = (score(predicted(learned(seed), each), truths) for each in (rooms, poor))
    print(f"seed {seed}: with augment clean {clean}, degraded {degraded_rooms}; without {before}, {without}")
    assert degraded_rooms.overlap > without.overlap
    assert clean.overlap >= before.overlap - 0.1
