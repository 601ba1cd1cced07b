"""Last stage: renders a walk through the world, measures its quality, and exports files for other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.scenes.flight import fly
from scenewright_stages.scenes.frames import stage_renderer
from scenewright_stages.scenes.video import write_flight_sheet, write_videos
from scenewright_stages.vision.gaussians.ply import write_ply
from scenewright_stages.vision.gaussians.rotation import rotated
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera, invert_rigid, rigid
from scenewright_stages.vision.places.worlds.freespace import FreeSpace
from scenewright_stages.vision.places.worlds.motions import turned
from scenewright_stages.worldexplorer.capture import distance_seen, read_world_capture
from scenewright_stages.worldexplorer.params import WalkParams, WorldExplorerParams
from scenewright_stages.worldexplorer.quality import picture_failures, picture_quality, walk_quality

Y_UP = np.diag([1.0, -1.0, -1.0])
"""Turns a world with OpenCV axes (y down) into one with y up."""
_SWAY, _PITCH = 15.0, -8.0
"""Degrees that the walk looks beside the middle, and down."""


class ExportStage(Stage[WorldExplorerParams]):
    """Measures and renders a finished world."""

    def __init__(self, context: StageContext[WorldExplorerParams]) -> None:
        super().__init__(context)
        self.renderer = stage_renderer(context.models)

    def process(self, sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> StageResult:
        """Writes Gaussians, walk and metrics."""
        scene = GaussianScene.load_npz(inputs.path("train", "scene")).to(self.renderer.device)
        capture = read_world_capture(inputs.path("points", "capture"), inputs.params.training.held_out_every)
        distance = capture.distance
        if distance is None:
            distance = distance_seen(scene, capture.middle, self.renderer)
        block = inputs.params.walk
        reach, cameras = free_walk(block, FreeSpace(distance), inputs.params.expansion.clearance)
        cameras = [each.with_pose(each.camera_from_world @ capture.middle.camera_from_world) for each in cameras]
        flight = fly(scene, cameras, self.renderer, self.context.progress)
        walk = walk_quality(scene, flight, distance, capture.middle, reach, self.renderer)
        pictures = picture_quality(scene, capture, self.renderer)
        metrics = {
            "walk": walk.to_json(),
            **pictures,
            "gaussians": len(scene),
            "renderer": self.renderer.name,
        }
        names = {"ply": "splat.ply", "ply_rotated": "splat_rotated.ply", "video": "walk.mp4"}
        names |= {"depth_video": "walk_depth.mp4", "contact_sheet": "contact_sheet.jpg"}
        names |= {"path": "walk.json", "metrics": "metrics.json"}
        outputs: dict[str, Path] = {name: inputs.workspace / file for name, file in names.items()}
        write_ply(scene, outputs["ply"])
        write_ply(rotated(scene.to("cpu"), Y_UP @ capture.middle.camera_from_world[:3, :3]), outputs["ply_rotated"])
        write_videos(flight, outputs["video"], outputs["depth_video"], block.frames_per_second)
        write_flight_sheet(flight, outputs["contact_sheet"])
        outputs["path"].write_text(json.dumps(walk_file(cameras), indent=1) + "\n")
        outputs["metrics"].write_text(json.dumps(metrics, indent=1, sort_keys=True) + "\n")
        return StageResult(outputs, metrics=metrics, warnings=[*walk.failures(block), *picture_failures(pictures)])


def free_walk(block: WalkParams, space: FreeSpace, clearance: float) -> tuple[float, list[Camera]]:
    """The actual reach of the walk in metres to each side, and its cameras."""
    asked = walk_poses(block.frames, block.reach)
    scale = space.scale_of(asked[:, :3, 3], clearance)
    poses = walk_poses(block.frames, block.reach * scale)
    lens = Camera.from_field_of_view(block.width, block.height, block.field_of_view_degrees)
    return block.reach * scale, [lens.with_pose(invert_rigid(pose)) for pose in poses]


def walk_poses(frames: int, reach: float) -> NDArray[np.float64]:
    """(frames, 4, 4) world_from_camera: a circle of `reach` metres around the centre, always looking across it.

    The walk leaves the centre, circles it and returns; looking across shows most of the place.
    """
    share = np.linspace(0.0, 1.0, frames)
    distance = reach * np.sin(np.pi * np.clip(share * 4, 0, 0.5)) * np.sin(np.pi * np.clip((1 - share) * 4, 0, 0.5))
    angle = 2 * np.pi * share
    positions = -np.stack([distance * np.sin(angle), np.zeros(frames), distance * np.cos(angle)], axis=1)
    yaw = np.degrees(angle) + _SWAY * np.sin(4 * np.pi * share)
    return np.stack([rigid(turned(each, _PITCH), position) for each, position in zip(yaw, positions, strict=True)])


def walk_file(cameras: list[Camera]) -> dict[str, Any]:
    """The walk's cameras as JSON."""
    first = cameras[0]
    return {
        "intrinsics": first.intrinsics.tolist(),
        "width": first.width,
        "height": first.height,
        "cameras": [camera.camera_from_world.tolist() for camera in cameras],
    }


def read_walk(path: Path) -> list[Camera]:
    """The inverse of :func:`walk_file`, from a file."""
    data = json.loads(path.read_text())
    lens = np.array(data["intrinsics"])
    return [Camera(lens, data["width"], data["height"], np.array(pose)) for pose in data["cameras"]]
