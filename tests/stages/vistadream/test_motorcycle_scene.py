"""A scene from the left view of a real stereo pair and its measured disparity, seen from the right camera."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from warping import forward_warp

from scenewright_stages.scenes.frames import gaussians_of
from scenewright_stages.scenes.preparation import Layout
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera, rigid
from scenewright_stages.vision.geometry.depth.provided import read_provided, window_depth
from scenewright_stages.vision.geometry.framing import outpaint_canvas, prepared_window, resample
from scenewright_stages.vision.geometry.points import depth_edges
from scenewright_stages.vistadream.initialize import DepthPass, first_frames, initialize_scene
from scenewright_stages.vistadream.params import VistaDreamParams

data = pytest.importorskip("skimage.data")
CAMERA_FILE = Path(__file__).parents[3] / "examples/inputs/motorcycle.camera.json"
SIDECAR = json.loads(CAMERA_FILE.read_text())
RENDERER = renderer_for("cpu")
PARAMS = VistaDreamParams.model_validate({"mode": "noOutpaint", "depth": {"backend": "provided"}})
SIZE = 384


@dataclass(frozen=True, eq=False)
class Pair:
    """The prepared pair: left and right (H, W, 3), left camera with depth, right camera, the layout."""

    left: NDArray[np.float32]
    right: NDArray[np.float32]
    disparity: NDArray[np.float32]
    layout: Layout

    def depth(self, folder: Path) -> tuple[NDArray[np.float32], Camera]:
        """Depth and left camera as read from files."""
        np.savez(folder / "left.disparity.npz", disparity=self.disparity)
        found = read_provided(folder / "left.disparity.npz", camera_file=CAMERA_FILE)
        shown = window_depth(found, (SIDECAR["width"], SIDECAR["height"]), self.layout.crop)
        assert shown.camera is not None
        return shown.depth, shown.camera

    def right_camera(self, left: Camera, offset: float = 0.0) -> Camera:
        """The other camera of the rig: a baseline to the right, its principal point farther right.

        With an offset it shows the scene of a disparity that is off by so many pixels.
        """
        intrinsics = left.intrinsics.copy()
        intrinsics[0, 2] += (SIDECAR["disparityOffsetPixels"] + offset) * self.layout.crop.scale
        return Camera(intrinsics, left.width, left.height, rigid(np.eye(3), (-SIDECAR["baselineMetres"], 0, 0)))


@pytest.fixture(scope="module")
def pair() -> Pair:
    left, right, disparity = data.stereo_motorcycle()
    window = prepared_window(left.shape[1], left.shape[0], SIZE)
    canvas = outpaint_canvas(window.width, window.height, 0.0)
    layout = Layout("noOutpaint", left.shape[1], left.shape[0], None, window, canvas)
    as_float = [(picture / 255).astype(np.float32) for picture in (left, right)]
    return Pair(*(resample(picture, window) for picture in as_float), disparity, layout)


def depth_pass(depth: NDArray[np.float32], camera: Camera) -> DepthPass:
    return DepthPass(depth, np.ones_like(depth), np.zeros(depth.shape, np.bool_), camera.intrinsics)


def scene_of(pair: Pair, depth: NDArray[np.float32], camera: Camera) -> GaussianScene:
    """The scene that the pipeline makes of the left view."""
    frames = first_frames(pair.left, depth_pass(depth, camera), pair.layout, PARAMS)
    scene, _ = initialize_scene(frames, PARAMS, RENDERER, seed=5)
    return scene


def rendered(scene: GaussianScene, camera: Camera) -> tuple[Any, Any]:
    """A view of a scene, (H, W, 3), and its alpha (H, W)."""
    with torch.no_grad():
        rendering = RENDERER.render(scene, [camera])
    return rendering.rgb[0].clamp(0, 1).numpy(), rendering.alpha[0].numpy()


def psnr(first: Any, second: Any, where: Any) -> float:
    return float(-10 * np.log10(np.mean((first - second)[where] ** 2)))


@pytest.mark.slow
def test_the_scene_of_the_left_view_shows_the_right_view(pair: Pair, tmp_path: Path) -> None:
    depth, camera = pair.depth(tmp_path)
    warped = forward_warp(pair.left, depth, camera, pair.right_camera(camera))
    seen = warped.covered
    scene = scene_of(pair, depth, camera)
    picture, alpha = rendered(scene, pair.right_camera(camera))
    splat, warp = psnr(picture, pair.right, seen), psnr(warped.srgb, pair.right, seen)
    covered = float((alpha >= 0.7)[seen].mean())
    off, _ = rendered(scene, pair.right_camera(camera, offset=1.0))
    identity = psnr(pair.left, pair.right, seen)
    shifts = [psnr(np.roll(pair.left, -shift, axis=1), pair.right, seen) for shift in range(2, 32)]
    one_pixel_off = psnr(off, pair.right, seen)
    print(f"splat {splat:.2f} warp {warp:.2f} covered {covered:.4f} identity {identity:.2f}", end=" ")
    print(f"constant {max(shifts):.2f} off by a pixel {one_pixel_off:.2f}")
    assert splat >= 26.0
    assert splat >= warp - 2.0
    assert covered >= 0.98
    assert max(identity, *shifts, one_pixel_off) < 26.0, "what must lose: identity, one disparity, one pixel off"


@pytest.mark.slow
def test_edge_pixels_of_the_input_stay_covered_where_dropping_them_opens_holes(pair: Pair, tmp_path: Path) -> None:
    depth, camera = pair.depth(tmp_path)
    edges = depth_edges(depth)
    shares = []
    for used in (depth, np.where(edges, np.float32(np.nan), depth)):
        frames = first_frames(pair.left, depth_pass(used, camera), pair.layout, PARAMS)
        with torch.no_grad():
            alpha = RENDERER.render(gaussians_of(frames[0], 0.8), [camera]).alpha[0].numpy()
        shares.append(float((alpha >= 0.7)[edges].mean()))
    print("edge pixels covered: snapped {:.4f}, dropped {:.4f}".format(*shares))
    assert shares[0] >= 0.99
    assert shares[1] < 0.9
