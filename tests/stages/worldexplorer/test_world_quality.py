"""Whether a person sees a room: the example's walk, measured, beside a painted ball that must fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from world_chain import Chain

from scenewright_stages.vision.cameras import Camera
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry import project
from scenewright_stages.vision.world.mesh import Surface
from scenewright_stages.vision.world.surfels import panorama_surfels
from scenewright_stages.worldexplorer.export import read_walk

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "scenejob-worldexplorer.yaml"


def floor_slip(scene: GaussianScene, cameras: list[Camera], height: float) -> float:
    """Pixels (95th percentile) by which what lies on the floor leaves the true floor along a walk.

    What a ray from the middle meets below 40 degrees is floor in the example's room.
    """
    means = scene.means.numpy().astype(np.float64)
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    below = unit[:, 1] > np.sin(np.radians(40.0))
    shown, true = means[below][::50], (unit * height / unit[:, 1:2])[below][::50]
    slips = []
    for camera in cameras[::10]:
        (at, z), (there, depth) = project(shown, camera), project(true, camera)
        with np.errstate(invalid="ignore"):
            seen = (z > 0.2) & (depth > 0.2) & np.all((there >= 0) & (there < (camera.width, camera.height)), axis=1)
        slips.extend(np.linalg.norm(at[seen] - there[seen], axis=1))
    return float(np.percentile(slips, 95))


def sharpness(picture: NDArray[np.float32]) -> float:
    """Mean step between neighbouring pixels."""
    return float(np.abs(np.diff(picture, axis=0)).mean() + np.abs(np.diff(picture, axis=1)).mean())


def kept_sharpness(scene: GaussianScene, cameras: list[Camera]) -> float:
    """Sharpness of the walk over that of the same looks from the middle; the median, for content differs."""
    renderer = renderer_for("cpu")
    ratios = []
    for camera in cameras[5::12]:
        pose = camera.camera_from_world.copy()
        pose[:3, 3] = 0
        moved, middle = (
            renderer.render(scene, [each]).rgb[0].clamp(0, 1).numpy() for each in (camera, camera.with_pose(pose))
        )
        ratios.append(sharpness(moved) / sharpness(middle))
    return float(np.median(ratios))


def wide_share(scene: GaussianScene, cameras: list[Camera]) -> float:
    """Largest share of a frame that Gaussians wider than 5 % of the scene cover."""
    extent = float(np.ptp(scene.means.numpy(), axis=0).mean())
    wide = scene.log_scales.exp().max(dim=1).values > 0.05 * extent
    if not bool(wide.any()):
        return 0.0
    alpha = renderer_for("cpu").render(scene.select(wide), cameras[::15]).alpha
    return float((alpha > 0.5).float().mean(dim=(1, 2)).max())


@pytest.mark.proof
def test_the_example_is_a_room_and_a_ball_is_none(tmp_path: Path) -> None:
    """Prints what the README and the benchmarks state."""
    spec: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())["spec"]
    source = EXAMPLE.parent / spec["input"]["uri"]
    chain = Chain(tmp_path, spec["worldexplorer"], {"source": source}).run()
    files = {name: Path(str(path)) for name, path in chain.files["export", "world"].items()}
    metrics = json.loads(files["metrics"].read_text())
    scene = GaussianScene.load_npz(Path(str(chain.files["train", "world"]["scene"])))
    cameras, height = read_walk(files["path"]), chain.params.depth.camera_height
    slip, kept, wide = floor_slip(scene, cameras, height), kept_sharpness(scene, cameras), wide_share(scene, cameras)
    ball = ball_of(chain)
    walk = metrics["walk"]
    print(json.dumps(metrics, indent=1))
    print(f"floor slips {slip:.2f} px, sharpness kept {kept:.2f}, wide Gaussians {wide:.1%}")
    print(f"a ball: floor slips {floor_slip(ball, cameras, height):.1f} px")
    assert walk["reach_metres"] == 0.5
    assert walk["uncovered_mean"] <= 0.01 and walk["uncovered_max"] <= 0.04
    assert metrics["centre_psnr"] >= 30
    assert walk["nearest_gaussian_metres"] >= 0.5 * walk["near_metres"]
    assert slip < 3.0 < floor_slip(ball, cameras, height)
    assert kept >= 0.6
    assert wide < 0.1


def ball_of(chain: Chain) -> GaussianScene:
    """The same panorama painted on a sphere of the room's median distance."""
    with np.load(str(chain.files["depth", "world"]["distance"])) as arrays:
        distance = arrays["distance"]
    srgb = np.zeros((*distance.shape, 3), np.float32)
    return panorama_surfels(Surface.of_panorama(srgb, np.full_like(distance, np.median(distance))), 0.95)
