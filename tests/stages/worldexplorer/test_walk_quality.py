"""What a walk through a world is judged by: a room passes, and a painted ball, blobs, blur and near walls each fail."""

from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from world_panoramas import room_panorama

from scenewright_stages.scenes.flight import fly
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.places.worlds.freespace import FreeSpace
from scenewright_stages.vision.places.worlds.mesh import Surface
from scenewright_stages.vision.places.worlds.surfels import panorama_surfels
from scenewright_stages.worldexplorer.export import free_walk
from scenewright_stages.worldexplorer.params import WalkParams
from scenewright_stages.worldexplorer.quality import (
    MAXIMUM_WIDE_SHARE,
    MINIMUM_SHARPNESS_KEPT,
    WalkQuality,
    walk_quality,
    wide_sharpness_kept,
)

Floats = NDArray[np.float32]

HEIGHT = 128
BLOCK = WalkParams.model_validate({"frames": 20, "width": 160, "height": 100, "reach": 0.4})
EXACT = room_panorama("box", 0, HEIGHT)


def distance() -> Floats:
    assert EXACT.distance is not None
    return EXACT.distance


def scene_of(metres: Floats) -> GaussianScene:
    return panorama_surfels(Surface.of_panorama(EXACT.srgb, metres), 0.95)


def judged(scene: GaussianScene, metres: Floats | None = None, smear: float = 0.0) -> WalkQuality:
    """The quality of a walk through the box, whatever shows it; `smear` is the sigma that its frames are blurred by."""
    renderer = renderer_for("cpu")
    metres = distance() if metres is None else metres
    reach, cameras = free_walk(BLOCK, FreeSpace(metres), 0.25)
    middle = Camera.from_field_of_view(64, 64, 60.0)
    flight = fly(scene, cameras, renderer, lambda share, text: None)
    if smear:
        flight = replace(flight, srgb=np.stack([cv2.GaussianBlur(each, (0, 0), smear) for each in flight.srgb]))
    return walk_quality(scene, flight, metres, middle, reach, renderer)


def test_a_room_is_level_and_a_painted_ball_is_not() -> None:
    exact = judged(scene_of(distance()))
    ball = judged(scene_of(np.full_like(distance(), np.median(distance()))))
    print(exact, ball, sep="\n")
    assert exact.failures(BLOCK) == []
    assert exact.ground_slip_px < 0.3
    assert exact.ball_slip_px == pytest.approx(ball.ground_slip_px, rel=0.1)
    assert [each for each in ball.failures(BLOCK) if "not level" in each]


def test_frames_that_smear_what_the_middle_shows_sharply_are_found() -> None:
    found = judged(scene_of(distance()), smear=3.0)
    assert found.sharpness_kept < MINIMUM_SHARPNESS_KEPT
    assert any("sharpness" in each for each in found.failures(BLOCK))


def test_large_gaussians_are_counted_but_the_sky_is_not() -> None:
    plain = scene_of(distance())
    blobs = torch.arange(len(plain)) % 40 == 0
    large = torch.where(blobs[:, None], torch.full_like(plain.log_scales, np.log(0.6)), plain.log_scales)
    assert judged(replace(plain, log_scales=large)).wide_share > MAXIMUM_WIDE_SHARE
    sky = distance().copy()
    sky[: HEIGHT // 3] = 30.0
    assert judged(scene_of(sky), sky).wide_share == 0.0


def test_large_gaussians_are_a_defect_only_where_they_blur() -> None:
    scene, renderer = scene_of(distance()), renderer_for("cpu")
    _, cameras = free_walk(BLOCK, FreeSpace(distance()), 0.25)
    flight = fly(scene, cameras[:2], renderer, lambda share, text: None)
    smeared = replace(flight, srgb=np.stack([cv2.GaussianBlur(each, (0, 0), 3.0) for each in flight.srgb]))
    masks = {0: np.tile(np.arange(BLOCK.width) < BLOCK.width // 2, (BLOCK.height, 1))}
    middle = Camera.from_field_of_view(64, 64, 60.0)
    kept = [wide_sharpness_kept(scene, seen, middle, masks, renderer) for seen in (flight, smeared)]
    assert kept[0] == pytest.approx(1, abs=0.2)
    assert kept[1] < MINIMUM_SHARPNESS_KEPT
    good = WalkQuality(0.5, 0.0, 0.0, 1.0, 1.0, 0.0, 9.0, 0.0, 1.0)
    for share, expected in zip(kept, (False, True), strict=True):
        walk = replace(good, wide_share=0.3, wide_sharpness_kept=share)
        assert any("large Gaussians" in each for each in walk.failures(BLOCK)) is expected


def test_numbers_survive_the_file() -> None:
    numbers = {each.name: 0.25 for each in fields(WalkQuality)}
    assert WalkQuality.from_json(numbers).to_json() == numbers
    assert WalkQuality.from_json({**numbers, "ground_slip_px": None}).to_json()["ground_slip_px"] is None
