"""What the scene trainer is worth (`make proofs`): it grows scenes from few points, and a real capture looks right."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from capture_folders import room_views
from reconstruction import BEACH, Reconstructed, reconstructed
from synthetic import box_room
from synthetic.rendering import SyntheticView

from scenewright_stages.vision.gaussians.evaluation import evaluate
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.start import Start, start_points
from scenewright_stages.vision.gaussians.training import TrainingSettings, train
from scenewright_stages.vision.geometry.points import unproject

pytestmark = pytest.mark.proof
CPU = renderer_for("cpu")


def few_points(drawn: list[SyntheticView], count: int) -> Start:
    """A start of `count` Gaussians between 40 points a view."""
    random = np.random.default_rng(0)
    points, colours = [], []
    for each in drawn:
        chosen = random.choice(each.depth.size, 40, replace=False)
        points.append(unproject(each.depth, each.camera).reshape(-1, 3)[chosen])
        colours.append(np.round(each.srgb.reshape(-1, 3)[chosen] * 255).astype(np.uint8))
    pictures = [np.round(each.srgb * 255).astype(np.uint8) for each in drawn]
    cameras = [each.camera for each in drawn]
    return start_points(np.concatenate(points), np.concatenate(colours), cameras, pictures, 0, count)


def test_densification_from_a_twentieth_of_the_points_brings_back_what_is_missing() -> None:
    """24 views at 128 x 128: 600 Gaussians that may become 12,000, against the same 600 alone."""
    drawn = room_views(box_room(0), 24, (128, 128))
    views = [View(each.camera, torch.from_numpy(each.srgb)) for each in drawn]
    training = [number for number in range(24) if number % 6 != 3]
    start = few_points([drawn[number] for number in training], 600)
    settings = TrainingSettings(steps=600, segment=100, maximum=12_000, growth=1.0, exploration=True)
    scores = {}
    for name, each in {
        "not grown": replace(settings, maximum=600, exploration=False),
        "grown": settings,
    }.items():
        scene = train(start, [views[number] for number in training], each, 1, CPU)
        scores[name] = evaluate(scene, views[3::6], CPU).psnr
        print(f"\n{name}: {len(scene)} Gaussians, held out {scores[name]:.2f} dB")
    assert scores["grown"] - scores["not grown"] >= 1.5


@pytest.fixture(scope="module")
def posed(tmp_path_factory: pytest.TempPathFactory) -> Reconstructed:
    begun = time.monotonic()
    found = reconstructed(BEACH, tmp_path_factory.mktemp("posed"), {})
    print(f"\nposed: {found.metrics}, {time.monotonic() - begun:.0f} s")
    return found


def test_the_beach_is_better_than_its_nearest_photograph_on_the_ground_plane(posed: Reconstructed) -> None:
    warp = posed.metrics["nearest_photograph"]
    assert posed.held_out_psnr - warp["psnr"] >= 2
    assert warp["scene_psnr_shown"] > warp["psnr_shown"]


def test_bare_photographs_give_as_good_a_scene(posed: Reconstructed, tmp_path: Path) -> None:
    begun = time.monotonic()
    bare = reconstructed(BEACH / "images", tmp_path, {"poses": {"source": "estimate"}})
    print(f"\nbare: {bare.metrics}, {time.monotonic() - begun:.0f} s")
    assert not bare.warnings
    assert bare.held_out_psnr >= posed.held_out_psnr - 1
