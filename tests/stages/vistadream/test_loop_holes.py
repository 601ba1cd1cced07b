"""The holes that the coarse loop really fills, against the ground truth of their poses and the usual baselines."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch
from fill_quality import FillQuality, blurred_psnr, measure
from numpy.typing import NDArray
from synthetic import World, box_room, cylinder_room, render

from scenewright_stages.backends.inpaint.interface import INPAINT
from scenewright_stages.backends.runtime.loading import load
from scenewright_stages.scenes.frames import Frame, gaussians_of
from scenewright_stages.vision.gaussians.objective import OptimisationSettings
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import unproject
from scenewright_stages.vision.geometry.trajectories import Trajectory, dolly, orbit, spiral
from scenewright_stages.vision.imaging.inpainting.background import background_side
from scenewright_stages.vistadream.coarse import BackendFill
from scenewright_stages.vistadream.expansion import ExpansionSettings, ExpansionTools, FillColour, HoledView, expand
from scenewright_stages.vistadream.selection import Band

WIDTH, HEIGHT = 128, 96
POSES = 24
OPACITY = 0.8
WORLDS = {"box 0": box_room(0), "box 1": box_room(1), "cylinder 0": cylinder_room(0), "cylinder 1": cylinder_room(1)}
"""The cylinder rooms are the family that no recipe was tuned to; box rooms 0 and 1 were seen in first trials only."""

RENDERER = renderer_for("cpu")
SETTINGS = ExpansionSettings(
    frames=3, band=Band(), margin=0, optimisation=OptimisationSettings(iterations=5), edge_threshold=0.01
)
TRAJECTORIES: dict[str, Callable[[NDArray[np.float64]], Trajectory]] = {
    "spiral": lambda points: spiral(points, POSES, forward_ratio=0.3, backward_ratio=0.7),
    "orbit": lambda points: orbit(points, POSES, ratio=0.25),
    "dolly": lambda points: dolly(points, POSES, forward_ratio=0.05, backward_ratio=0.4),
}

LEAST_ENERGY, MOST_ENERGY = 0.5, 2.0
"""Gradient energy of a fill relative to its ring."""

LEAST_TYPICAL_GRADIENT = 0.2
"""Median squared gradient relative to the ring's: stripes have next to none, though the jumps between them make their
gradient energy as large as that of texture."""


@dataclass(frozen=True)
class FilledHole:
    """What one inpainter put into one hole: PSNR (dB) after the blur, and what needs no true picture."""

    blurred: float
    quality: FillQuality


@dataclass(frozen=True)
class LoopFills:
    """One inpainter in the holes of one trajectory's loops."""

    holes: list[FilledHole]

    def mean(self, value: Callable[[FilledHole], float]) -> float:
        return float(np.mean([value(hole) for hole in self.holes]))

    def median(self, value: Callable[[FilledHole], float]) -> float:
        return float(np.median([value(hole) for hole in self.holes]))


def telea(view: HoledView, seed: int) -> NDArray[np.float32]:
    picture = np.rint(np.where(view.hole[..., None], 0, view.srgb) * 255).astype(np.uint8)
    filled = cv2.inpaint(picture, view.hole.astype(np.uint8), 5, cv2.INPAINT_TELEA) / 255
    return np.where(view.hole[..., None], filled, view.srgb).astype(np.float32)


def edge_replication(view: HoledView, seed: int) -> NDArray[np.float32]:
    _, labels = cv2.distanceTransformWithLabels(
        view.hole.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colours = np.zeros((int(labels.max()) + 1, 3), np.float32)
    colours[labels[~view.hole]] = view.srgb[~view.hole]
    return np.asarray(colours[labels], np.float32)


def black(view: HoledView, seed: int) -> NDArray[np.float32]:
    return np.where(view.hole[..., None], np.float32(0), view.srgb)


INPAINTERS: dict[str, Callable[[], FillColour]] = {
    "classic": lambda: BackendFill(load(INPAINT, "classic"), ""),
    "telea": lambda: telea,
    "edge replication": lambda: edge_replication,
    "black": lambda: black,
}


def run_loop(world: World, name: str, fill: FillColour) -> tuple[list[HoledView], float]:
    """The views whose holes the loop filled, and the blurred PSNR (dB) of the grown scene at unseen poses."""
    camera = Camera.from_field_of_view(WIDTH, HEIGHT, 70.0)
    photograph = render(world, camera)
    everything = np.ones((HEIGHT, WIDTH), np.bool_)
    frame = Frame("input", photograph.srgb, photograph.depth, everything, everything, everything, camera)
    poses = TRAJECTORIES[name](unproject(photograph.depth, camera).reshape(-1, 3)).camera_from_world
    views: list[HoledView] = []

    def kept(view: HoledView, seed: int) -> NDArray[np.float32]:
        views.append(view)
        return fill(view, seed)

    tools = ExpansionTools(RENDERER, kept, None, lambda fraction, message: None)
    cameras = [camera.with_pose(pose) for pose in poses]
    grown = expand(gaussians_of(frame, OPACITY), [frame], cameras, SETTINGS, tools, seed=3)
    return views, unseen(world, grown.scene, cameras)


def filled_hole(world: World, view: HoledView, fill: FillColour, seed: int) -> FilledHole:
    srgb = fill(view, seed)
    truth = render(world, view.camera).srgb
    quality = measure(srgb, view.hole, background_side(view.depth, view.hole))
    return FilledHole(blurred_psnr(srgb, truth, view.hole), quality)


def unseen(world: World, scene: GaussianScene, cameras: list[Camera]) -> float:
    """Mean blurred PSNR over whole views half-way between neighbouring cameras."""
    everything = np.ones((HEIGHT, WIDTH), np.bool_)
    values = []
    for first, second in zip(cameras[::4], cameras[1::4], strict=False):
        middle = (first.camera_from_world + second.camera_from_world) / 2
        u, _, v = np.linalg.svd(middle[:3, :3])
        middle[:3, :3] = u @ v
        camera = first.with_pose(middle)
        with torch.no_grad():
            rendered = RENDERER.render(scene, [camera]).rgb[0].clamp(0, 1).numpy()
        values.append(blurred_psnr(rendered, render(world, camera).srgb, everything))
    return float(np.mean(values))


@pytest.fixture(scope="module", params=sorted(TRAJECTORIES))
def trajectory(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def views(trajectory: str) -> list[tuple[World, HoledView]]:
    """The holes that the loop fills with the classic fill: every inpainter is measured in the very same ones."""
    classic = INPAINTERS["classic"]()
    return [(world, view) for world in WORLDS.values() for view in run_loop(world, trajectory, classic)[0]]


@pytest.fixture(scope="module")
def fills(trajectory: str, views: list[tuple[World, HoledView]]) -> dict[str, LoopFills]:
    results = {}
    for inpainter, made in INPAINTERS.items():
        fill = made()
        holes = [filled_hole(world, view, fill, seed=3 + number) for number, (world, view) in enumerate(views)]
        results[inpainter] = LoopFills(holes)
        report(trajectory, inpainter, results[inpainter])
    return results


def report(trajectory: str, inpainter: str, fills: LoopFills) -> None:
    print(
        f"{trajectory} {inpainter}: {len(fills.holes)} holes, blurred {fills.mean(lambda hole: hole.blurred):.2f} dB,"
        f" gradient energy {fills.median(lambda hole: hole.quality.gradient_energy):.2f},"
        f" typical gradient {fills.median(lambda hole: hole.quality.typical_gradient):.2f},"
        f" seam {fills.median(lambda hole: hole.quality.seam_step):.2f}",
        file=sys.stderr,
    )


def is_lively(fills: LoopFills) -> bool:
    energy = fills.median(lambda hole: hole.quality.gradient_energy)
    typical = fills.median(lambda hole: hole.quality.typical_gradient)
    return LEAST_ENERGY <= energy <= MOST_ENERGY and typical >= LEAST_TYPICAL_GRADIENT


@pytest.mark.slow
def test_the_colours_are_not_below_telea_and_far_above_black(fills: dict[str, LoopFills]) -> None:
    blurred = {name: each.mean(lambda hole: hole.blurred) for name, each in fills.items()}
    assert blurred["classic"] >= blurred["telea"] - 0.5
    assert blurred["classic"] >= blurred["black"] + 5.0


@pytest.mark.slow
@pytest.mark.parametrize("world", ["box 0", "cylinder 0"])
def test_unseen_poses_of_the_grown_scene_are_not_below_those_of_a_scene_grown_with_telea(
    trajectory: str, world: str
) -> None:
    _, classic = run_loop(WORLDS[world], trajectory, INPAINTERS["classic"]())
    _, smeared = run_loop(WORLDS[world], trajectory, telea)
    assert classic >= smeared - 0.5


@pytest.mark.slow
def test_the_fills_are_as_lively_as_their_ring_and_the_smears_are_not(fills: dict[str, LoopFills]) -> None:
    assert is_lively(fills["classic"])
    assert not is_lively(fills["telea"])
    assert not is_lively(fills["edge replication"])


@pytest.mark.slow
def test_no_seam_shows_and_no_pixel_is_left(fills: dict[str, LoopFills]) -> None:
    assert fills["classic"].median(lambda hole: hole.quality.seam_step) <= 1.5
    assert fills["black"].median(lambda hole: hole.quality.seam_step) > 1.5
    assert sum(hole.quality.unfilled for hole in fills["classic"].holes) == 0
