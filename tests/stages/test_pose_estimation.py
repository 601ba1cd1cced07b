"""Poses of overlapping photographs of a synthetic room, where the truth is known, and of photographs of eight rooms."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic import box_room, render
from synthetic.world import World, finer

from scenewright_stages.vision.geometry.cameras import Camera, look_at
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.colmap import read_colmap
from scenewright_stages.vision.places.captures.estimation import EstimationSettings, estimate_poses
from scenewright_stages.worldexplorer.similarity import align_cameras

SETTINGS = EstimationSettings(features=1500, longest_side=320)


def cameras() -> list[Camera]:
    """Eight photographs from an arc, each turned a little further."""
    return [
        Camera.from_field_of_view(
            256, 192, 60.0, look_at((0.15 * step - 0.5, 0.1 * (step % 3), -0.2 * (step % 2)), (0.02 * step, 0.1, 1.5))
        )
        for step in range(8)
    ]


def saved(worlds: list[World], folder: Path) -> dict[str, Path]:
    folder.mkdir()
    for number, (world, camera) in enumerate(zip(worlds, cameras(), strict=True)):
        srgb = render(finer(world, 5), camera, 2).srgb
        Image.fromarray((srgb * 255).round().astype(np.uint8)).save(folder / f"{number}.png")
    return {path.name: path for path in sorted(folder.iterdir())}


WAYS = {
    "photographs": SETTINGS,
    "video": replace(SETTINGS, in_order=True),
    "video on two threads": replace(SETTINGS, in_order=True, threads=2),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder with the model of a room for each way to estimate it."""
    base = tmp_path_factory.mktemp("models")
    photographs = saved([box_room(1)] * 8, base / "room")
    for name, settings in WAYS.items():
        found = estimate_poses(photographs, base / name, settings, lambda share, said: None)
        assert len(found.registered) == 8
    return {name: base / name for name in WAYS}


@pytest.mark.parametrize("way", ["photographs", "video"])
def test_eight_overlapping_photographs_are_turned_within_half_a_degree(models: dict[str, Path], way: str) -> None:
    """Also those of a video, all of whose cameras are adjusted less often."""
    model = read_colmap("", False, lambda name: (models[way] / name.removeprefix("/")).read_bytes())
    posed = [shot.pinhole() for shot in model.shots]
    assert [shot.path for shot in model.shots] == [f"images/{number}.png" for number in range(8)]
    aligned = align_cameras(posed, cameras())
    print(f"angles {np.round(aligned.angle_errors, 3)} degrees, places {np.round(aligned.position_errors, 4)}")
    assert aligned.angle_errors.max() < 0.5
    assert aligned.position_errors.max() < 0.15


def test_threads_do_not_change_a_byte_of_the_poses(models: dict[str, Path]) -> None:
    for name in ("cameras.txt", "images.txt", "points3D.txt"):
        one, two = ((models[way] / name).read_bytes() for way in ("video", "video on two threads"))
        assert one == two


def test_photographs_of_eight_rooms_are_refused(tmp_path: Path) -> None:
    photographs = saved([box_room(seed) for seed in range(10, 18)], tmp_path / "rooms")
    with pytest.raises(CaptureError, match="photographs fit together") as caught:
        estimate_poses(photographs, tmp_path / "model", SETTINGS, lambda share, said: None)
    assert caught.value.reason == "TooFewMatches"
