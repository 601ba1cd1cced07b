"""The depths of a ring's views agree after one scale and one shift each."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from synthetic import render
from world_chain import TINY, Chain
from world_panoramas import room, room_panorama

from scenewright_stages.backends.depth.interface import DepthEstimate
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.stage import StageContext, StageInputs
from scenewright_stages.vision.places.worlds.depth_ring import RingDepth, closed_ring
from scenewright_stages.vision.places.worlds.motions import view_camera
from scenewright_stages.worldexplorer.depth import DepthStage, estimated
from scenewright_stages.worldexplorer.params import WorldDepthParams
from scenewright_stages.worldexplorer.pipeline import depth_stage

SIZE = 96
CAMERAS = [view_camera(view, SIZE) for view in range(8)]


@cache
def known_depths(name: str, seed: int) -> list[np.ndarray]:
    return [render(room(name, seed), camera, 1).depth for camera in CAMERAS]


def exact_depths(name: str, seed: int) -> list[np.ndarray]:
    return [depth.copy() for depth in known_depths(name, seed)]


def disturbed(depths: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Each view's depth in a unit of its own, moved by up to a fifth of its nearest depth."""
    draws = np.random.default_rng(seed)
    return [
        ((depth - draws.uniform(-0.2, 0.2) * depth.min()) / draws.uniform(0.5, 2.0)).astype(np.float32)
        for depth in depths
    ]


def relative_error(solved: RingDepth, depths: list[np.ndarray]) -> float:
    """The largest relative error of any view, after one factor for all."""
    ratios = [made / depth for made, depth in zip(solved.depths, depths, strict=True)]
    level = np.median(np.stack(ratios))
    return max(float(np.median(np.abs(ratio / level - 1))) for ratio in ratios)


@pytest.mark.parametrize("name", ["box", "cylinder"])
@pytest.mark.parametrize("seed", range(2))
def test_random_scales_and_shifts_are_found(name: str, seed: int) -> None:
    depths = exact_depths(name, seed)
    solved = closed_ring(disturbed(depths, seed), CAMERAS)
    assert relative_error(solved, depths) < 0.01
    assert solved.before > 0.1 > 20 * solved.disagreement


def test_a_tenth_of_wrong_pixels_changes_little() -> None:
    depths = exact_depths("box", 1)
    draws = np.random.default_rng(9)
    given = disturbed(depths, 3)
    for depth in given:
        wrong = draws.random(depth.shape) < 0.1
        depth[wrong] *= draws.uniform(1.5, 3.0, int(wrong.sum()))
    assert relative_error(closed_ring(given, CAMERAS), depths) < 0.01


def test_depths_that_agree_stay_as_they_are() -> None:
    depths = exact_depths("box", 0)
    solved = closed_ring(depths, CAMERAS)
    for made, depth in zip(solved.depths, depths, strict=True):
        np.testing.assert_allclose(made, depth, rtol=0.01)


def test_views_without_a_common_pixel_are_refused() -> None:
    depths = exact_depths("box", 0)
    depths[3] = np.zeros_like(depths[3])
    depths[3][:, 40:50] = 1
    with pytest.raises(ValueError, match="share only 0"):
        closed_ring(depths, CAMERAS)


class Model:
    """Knows the room, but in a unit of its own for each view, as models do."""

    record = BackendRecord("depth", "known", "model")

    def __init__(self, depths: list[np.ndarray], *, is_metric: bool) -> None:
        self.left, self.is_metric = list(depths), is_metric

    def estimate(self, srgb: np.ndarray, field_of_view_degrees: float | None = None, provided: object = None) -> Any:
        assert field_of_view_degrees == 60
        depth = self.left.pop(0).copy()
        depth[:3, :3] = np.nan
        return DepthEstimate(depth, np.isfinite(depth).astype(np.float32), None, self.is_metric)

    def release(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize("is_metric", [True, False])
def test_a_models_depth_becomes_the_distances_of_the_world(is_metric: bool) -> None:
    exact = room_panorama("box", 0).distance
    assert exact is not None
    depths, views = exact_depths("box", 0), [np.zeros((SIZE, SIZE, 3), np.float32)] * 8
    floor = float(exact[-1].mean())
    block = WorldDepthParams(method="model", camera_height=floor)
    unit = 1.0 if is_metric else 7.0
    given = [depth * unit for depth in (depths if is_metric else disturbed(depths, 2))]
    distance, warnings, facts = estimated(Model(given, is_metric=is_metric), views, 128, block)
    truth = exact[::2, ::2]
    assert np.median(np.abs(np.log(distance / truth))[44:84]) < 0.03
    assert facts["disagreement"] < 0.02
    assert [warning for warning in warnings if "unit is unknown" in warning] == warnings and bool(warnings) != is_metric


def test_an_entry_cannot_ask_for_a_model_that_the_job_does_not_load(tmp_path: Path) -> None:
    chain = Chain(tmp_path, TINY, {"source": write_room(tmp_path)}).run(until="scaffold")
    context = StageContext(depth_stage(chain.params), chain.params)
    own = chain.params.model_copy(update={"depth": WorldDepthParams(method="model")})
    files = {("scaffold", "panorama"): chain.files["scaffold", "world"]["panorama"]}
    with pytest.raises(SampleError, match="of the job as well"):
        DepthStage(context).process(chain.root, StageInputs(files, own, 1, tmp_path))


def write_room(folder: Path) -> Path:
    path = folder / "room.png"
    cv2.imwrite(str(path), (room_panorama("box", 0).srgb[..., ::-1] * 255).round().astype(np.uint8))
    return path
