"""The coarse loop against the synthetic world, whose every answer is exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from synthetic import World, box_room, render

from scenewright_stages.backends.inpaint.interface import INPAINT
from scenewright_stages.backends.runtime.loading import load
from scenewright_stages.scenes.frames import Frame, gaussians_of
from scenewright_stages.vision.gaussians.objective import OptimisationSettings
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import unproject
from scenewright_stages.vision.geometry.trajectories import Trajectory, dolly, orbit, spiral
from scenewright_stages.vision.imaging.metrics import psnr
from scenewright_stages.vistadream.coarse import BackendFill
from scenewright_stages.vistadream.expansion import Expansion, ExpansionSettings, ExpansionTools, HoledView, expand
from scenewright_stages.vistadream.selection import Band

WIDTH, HEIGHT = 128, 96
OPACITY = 0.8
RENDERER = renderer_for("cpu")
TRAJECTORIES: dict[str, Callable[[NDArray[np.float64]], Trajectory]] = {
    "spiral": lambda points: spiral(points, 24, forward_ratio=0.3, backward_ratio=0.7),
    "orbit": lambda points: orbit(points, 24, ratio=0.25),
    "dolly": lambda points: dolly(points, 24, forward_ratio=0.05, backward_ratio=0.4),
}


def first_frame(world: World) -> Frame:
    camera = Camera.from_field_of_view(WIDTH, HEIGHT, 70.0)
    view = render(world, camera)
    everything = np.ones((HEIGHT, WIDTH), np.bool_)
    return Frame("input", view.srgb, view.depth, everything, everything, everything, camera)


def oracle_colour(world: World) -> Callable[[HoledView, int], NDArray[np.float32]]:
    def fill(view: HoledView, seed: int) -> NDArray[np.float32]:
        return np.where(view.hole[..., None], render(world, view.camera).srgb, view.srgb).astype(np.float32)

    return fill


def oracle_depth(world: World) -> Callable[[HoledView, NDArray[np.float32]], NDArray[np.float32]]:
    return lambda view, srgb: render(world, view.camera, supersampling=1).depth


def black_holes(view: HoledView, seed: int) -> NDArray[np.float32]:
    return np.where(view.hole[..., None], np.float32(0), view.srgb)


def run(
    frame: Frame,
    trajectory: Trajectory,
    fill: object,
    depth: object,
    frames: int = 3,
    shown: Callable[[GaussianScene, Sequence[Frame]], None] = lambda scene, frames: None,
) -> Expansion:
    settings = ExpansionSettings(
        frames=frames,
        band=Band(minimum=0.002, maximum=0.5, adjacent_exclusion=1),
        margin=0,
        optimisation=OptimisationSettings(iterations=60),
        edge_threshold=0.01,
        opacity=OPACITY,
    )
    tools = ExpansionTools(RENDERER, fill, depth, lambda fraction, message: None, shown)  # type: ignore[arg-type]
    cameras = [frame.camera.with_pose(pose) for pose in trajectory.camera_from_world]
    return expand(gaussians_of(frame, OPACITY), [frame], cameras, settings, tools, seed=3)


def unseen_psnr(world: World, scene: GaussianScene, frame: Frame, trajectory: Trajectory) -> float:
    """Mean PSNR at ten poses half-way between those of the trajectory, against the exact views."""
    values = []
    for number in np.linspace(0, len(trajectory) - 2, 10).round().astype(int):
        poses = trajectory.camera_from_world[number : number + 2]
        camera = frame.camera.with_pose(halfway(poses[0], poses[1]))
        with torch.no_grad():
            rendered = RENDERER.render(scene, [camera]).rgb[0]
        values.append(float(psnr(rendered.clamp(0, 1), torch.as_tensor(render(world, camera).srgb))))
    return float(np.mean(values))


def halfway(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    middle = (first + second) / 2
    u, _, v = np.linalg.svd(middle[:3, :3])
    middle[:3, :3] = u @ v
    return middle


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TRAJECTORIES))
def test_coverage_grows_every_round_and_unseen_poses_are_right_with_an_oracle(name: str) -> None:
    world = box_room(0)
    frame = first_frame(world)
    trajectory = TRAJECTORIES[name](unproject(frame.depth, frame.camera).reshape(-1, 3))
    shown: list[tuple[int, int]] = []
    expansion = run(
        frame,
        trajectory,
        oracle_colour(world),
        oracle_depth(world),
        shown=lambda scene, frames: shown.append((len(scene), len(frames))),
    )
    assert [views for _, views in shown] == list(range(2, 2 + expansion.summary.selected_extra_frames))
    assert all(later > earlier for (earlier, _), (later, _) in pairwise(shown))
    coverage = expansion.summary.coverage
    before = unseen_psnr(world, gaussians_of(frame, OPACITY), frame, trajectory)
    after = unseen_psnr(world, expansion.scene, frame, trajectory)
    print(name, [round(c, 4) for c in coverage], round(before, 2), round(after, 2))
    assert all(later > earlier for earlier, later in pairwise(coverage))
    assert coverage[-1] >= 0.97
    assert after >= 24.0
    assert before < 24.0, "without expansion the unseen poses must fail, else the scene proves nothing"


@pytest.mark.slow
def test_classic_fill_beats_black_holes_by_five_decibels() -> None:
    world = box_room(1)
    frame = first_frame(world)
    trajectory = TRAJECTORIES["spiral"](unproject(frame.depth, frame.camera).reshape(-1, 3))
    inpainter = load(INPAINT, "classic")
    classic = run(frame, trajectory, BackendFill(inpainter, ""), lambda view, srgb: None)
    black = run(frame, trajectory, black_holes, lambda view, srgb: None)
    filled = unseen_psnr(world, classic.scene, frame, trajectory)
    holes = unseen_psnr(world, black.scene, frame, trajectory)
    print("classic", round(filled, 2), "black", round(holes, 2))
    assert filled >= holes + 5.0
