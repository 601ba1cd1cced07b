"""Whether a person sees a room: the example's walk, measured, beside a painted ball that must fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from synthetic import render
from view_depth import cut_depth
from world_chain import Chain
from world_panoramas import room, room_panorama

from scenewright_stages.scenes.preparation import write_png
from scenewright_stages.vision.gaussians.evaluation import evaluate
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import project, unproject
from scenewright_stages.vision.places.worlds import memory
from scenewright_stages.vision.places.worlds.memory import WorldFrame
from scenewright_stages.vision.places.worlds.mesh import Surface, look
from scenewright_stages.vision.places.worlds.motions import target_cameras, targets_of, view_camera
from scenewright_stages.vision.places.worlds.panorama import cut_view, pixels_of
from scenewright_stages.vision.places.worlds.surfels import panorama_surfels
from scenewright_stages.worldexplorer import expansion
from scenewright_stages.worldexplorer.export import read_walk
from scenewright_stages.worldexplorer.quality import MAXIMUM_GROUND_SLIP, MINIMUM_CENTRE_PSNR, WalkQuality, ground_slip

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "scenejob-worldexplorer.yaml"


FLOOR = {
    "before the window": (545, 610, 385, 440),
    "by the desk": (130, 215, 400, 470),
    "entrance": (120, 190, 340, 370),
}
"""Boxes of the photograph, drawn by hand, in which nothing but floor is seen: columns and rows."""


def floor_slip(scene: GaussianScene, cameras: list[Camera], height: float, box: tuple[int, int, int, int]) -> float:
    """Pixels (95th percentile) by which what a box of the photograph shows leaves the true floor along a walk."""
    means = scene.means.numpy().astype(np.float64)
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    columns, rows = np.moveaxis(pixels_of(unit, 512), -1, 0)
    chosen = (columns >= box[0]) & (columns < box[1]) & (rows >= box[2]) & (rows < box[3])
    true = unit * height / unit[:, 1:2]
    return ground_slip(means[chosen][::5], true[chosen][::5], cameras[::10], percentile=95)


@pytest.mark.proof
def test_the_example_is_a_room_and_a_ball_is_not(tmp_path: Path) -> None:
    """Prints what the README and the benchmarks state."""
    spec: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())["spec"]
    source = EXAMPLE.parent / spec["input"]["uri"]
    chain = Chain(tmp_path, spec["worldexplorer"], {"source": source}).run()
    files = {name: Path(str(path)) for name, path in chain.files["export", "world"].items()}
    metrics = json.loads(files["metrics"].read_text())
    scene = GaussianScene.load_npz(Path(str(chain.files["train", "world"]["scene"])))
    cameras, height = read_walk(files["path"]), chain.params.depth.camera_height
    slips = {name: floor_slip(scene, cameras, height, box) for name, box in FLOOR.items()}
    ball = {name: floor_slip(ball_of(chain), cameras, height, box) for name, box in FLOOR.items()}
    print(json.dumps(metrics, indent=1))
    for name in FLOOR:
        print(f"floor slips, {name}: {slips[name]:.2f} px; on a ball {ball[name]:.1f} px")
    walk = WalkQuality.from_json(metrics["walk"])
    assert walk.reach_metres == chain.params.walk.reach == 0.5
    assert len(cameras) == chain.params.walk.frames == 150
    assert not chain.made["export", "world"].warnings
    assert walk.failures(chain.params.walk) == []
    assert metrics["centre_psnr"] >= MINIMUM_CENTRE_PSNR
    for name in FLOOR:
        assert slips[name] < MAXIMUM_GROUND_SLIP < ball[name], name
    assert walk.ground_slip_px < MAXIMUM_GROUND_SLIP < walk.ball_slip_px


def ball_of(chain: Chain) -> GaussianScene:
    """The same panorama painted on a sphere of the room's median distance."""
    with np.load(str(chain.files["depth", "world"]["distance"])) as arrays:
        distance = arrays["distance"]
    srgb = np.zeros((*distance.shape, 3), np.float32)
    return panorama_surfels(Surface.of_panorama(srgb, np.full_like(distance, np.median(distance))), 0.95)


@pytest.mark.proof
@pytest.mark.parametrize(("name", "seed"), [("box", 0), ("cylinder", 0)])
def test_eight_exact_views_become_the_room_at_untrained_poses(
    tmp_path: Path, name: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the ray caster, between the poses that a stride of 9 trains on; without memory or paths it is worse."""
    found = {"whole": psnr_of_paths(trained_world(tmp_path / "whole", name, seed), name, seed)}
    with monkeypatch.context() as patch:
        patch.setattr(memory, "covisible", lambda frames, camera, limit: [])
        found["no memory"] = psnr_of_paths(trained_world(tmp_path / "forgetful", name, seed), name, seed)
    with monkeypatch.context() as patch:
        patch.setattr(expansion, "free_cameras", lambda view, motion, block, space: (block.unit, []))
        found["no expansion"] = psnr_of_paths(trained_world(tmp_path / "still", name, seed), name, seed)
    for what, values in found.items():
        print(name, seed, what, {motion: round(value, 1) for motion, value in values.items()})
    judged = {what: np.mean([values[motion] for motion in ("in", "left", "right")]) for what, values in found.items()}
    assert min(found["whole"][motion] for motion in ("in", "left", "right")) >= 22.0
    # What is filled from behind is nearly the same from every camera: in the classic expansion memory gains nothing.
    assert judged["whole"] >= judged["no memory"] - 0.2
    assert judged["whole"] >= judged["no expansion"] + 3.0


@pytest.mark.proof
def test_memory_makes_motions_agree_on_what_only_they_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the middle does not see is invented; with memory the next motion shows the same invention."""
    panorama = room_panorama("box", 0)
    assert panorama.distance is not None
    surface = Surface.of_panorama(panorama.srgb, panorama.distance)
    agreement = {"memory": agreement_of(expanded(surface), surface)}
    with monkeypatch.context() as patch:
        patch.setattr(memory, "covisible", lambda frames, camera, limit: [])
        agreement["none"] = agreement_of(expanded(surface), surface)
    print({name: [round(each, 4) for each in values] for name, values in agreement.items()})
    (colours, depths), (colours_without, depths_without) = agreement["memory"], agreement["none"]
    assert colours >= colours_without + 1.0
    assert depths <= 0.5 * depths_without


def expanded(surface: Surface) -> dict[str, list[WorldFrame]]:
    """The frames of three motions of four views; each motion knows those before."""
    made: dict[str, list[WorldFrame]] = {}
    for motion in ("in", "left", "right"):
        known = [frame for frames in made.values() for frame in frames]
        paths = [target_cameras(view, motion, targets_of(motion, 15), 0.6, 128) for view in (0, 2, 4, 6)]
        made[motion] = [frame for cameras in paths for frame in memory.expand(surface, known, cameras, 13, 12)]
    return made


def agreement_of(made: dict[str, list[WorldFrame]], surface: Surface) -> tuple[float, float]:
    """PSNR and mean relative difference of depth between frames of two motions, at what the middle does not see."""
    hidden = {id(frame): look([surface], frame.camera).hole for frames in made.values() for frame in frames}
    squares, ratios = [], []
    for motion, frames in made.items():
        others = [each for name, some in made.items() if name != motion for each in some]
        for frame in frames:
            own = hidden[id(frame)]
            places, colours = unproject(frame.depth, frame.camera)[own], frame.srgb[own] / 255
            for other in others:
                pixels, z = project(places, other.camera)
                with np.errstate(invalid="ignore"):
                    inside = (z > 0) & np.all((pixels >= 0) & (pixels < 128), axis=1)
                columns, rows = pixels[inside].astype(int).T
                ratio = z[inside] / other.depth[rows, columns]
                same = hidden[id(other)][rows, columns] & (np.abs(np.log(ratio)) < 0.26)
                squares.append(np.mean((colours[inside] - other.srgb[rows, columns] / 255) ** 2, axis=1)[same])
                ratios.append(np.abs(ratio - 1)[same])
    return float(-10 * np.log10(np.concatenate(squares).mean())), float(np.concatenate(ratios).mean())


def trained_world(folder: Path, name: str, seed: int) -> GaussianScene:
    """The scene of a room's eight exact views with their depth."""
    exact = room_panorama(name, seed)
    assert exact.distance is not None
    folder.mkdir()
    files = {}
    for view in range(8):
        camera = view_camera(view, 192)
        files[f"view_{view}"] = folder / f"00{view}.png"
        write_png(files[f"view_{view}"], cut_view(exact.srgb, camera))
        files[f"depth_{view}"] = folder / f"00{view}.depth.npy"
        np.save(files[f"depth_{view}"], cut_depth(exact.distance, camera))
    block = {
        "scaffold": {"method": "provided", "size": 192, "panoramaHeight": 256},
        "depth": {"method": "provided"},
        "expansion": {"resolution": 128},
        "training": {"steps": 200, "segment": 200},
    }
    chain = Chain(folder / "work", block, files).run(until="train")
    return GaussianScene.load_npz(Path(str(chain.files["train", "world"]["scene"])))


def psnr_of_paths(scene: GaussianScene, name: str, seed: int) -> dict[str, float]:
    """By motion, at three poses four targets before trained ones."""
    found = {}
    for motion in ("in", "left", "right", "up"):
        cameras = [
            target_cameras(view, motion, (targets_of(motion, 9)[at] - 4,), 0.6, 128)[0]
            for view, at in ((0, -1), (2, 2), (5, -2))
        ]
        truth = [View(camera, torch.from_numpy(render(room(name, seed), camera, 2).srgb)) for camera in cameras]
        found[motion] = evaluate(scene, truth, renderer_for("cpu")).psnr
    return found
