"""Expansion stages, one per motion: generate the images along a path from one view, given all earlier motions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.scenes.preparation import read_png
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.imaging.archives import save_arrays
from scenewright_stages.vision.places.worlds.freespace import FreeSpace
from scenewright_stages.vision.places.worlds.memory import WorldFrame, expand
from scenewright_stages.vision.places.worlds.mesh import Surface
from scenewright_stages.vision.places.worlds.motions import target_cameras, targets_of
from scenewright_stages.worldexplorer.drawing import Remembered, drawn_path, load_generator
from scenewright_stages.worldexplorer.listing import MOTIONS
from scenewright_stages.worldexplorer.params import ExpansionParams, WorldExplorerParams


class ExpansionStage(Stage[WorldExplorerParams]):
    """Makes the images of one motion from one view."""

    def __init__(self, context: StageContext[WorldExplorerParams]) -> None:
        super().__init__(context)
        block = self.params.expansion
        self._generator = load_generator(block.backend, block.seva, context.models)

    def process(self, sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> StageResult:
        """Writes the frames; a path that is blocked at its start has none, and gets a warning."""
        motion = self.context.stage.name.removeprefix("expand-")
        view, block = int(sample.attributes["view"]), inputs.params.expansion
        distance = read_distance(inputs.path("depth", "distance"))
        panorama = Surface.of_panorama(read_png(inputs.path("scaffold", "panorama")), distance)
        scale, cameras = free_cameras(view, motion, block, FreeSpace(distance))
        frames: list[WorldFrame] = []
        wanted = motion in sample.attributes.get(MOTIONS, [motion])
        if cameras and wanted:
            paths = list(self._paths(inputs))
            remembered = [frame for _, path in paths for frame in path if frame.filled.any()]
            frames = expand(panorama, remembered, cameras, block.anchors, block.memory_frames)
            if self._generator is not None:
                views, progress = inputs.paths("scaffold", "views"), self.context.progress
                frames = drawn_path(
                    self._generator, views, paths, frames, view, block, inputs.seed, lambda done: progress(done, "")
                )
        path = inputs.workspace / "frames.npz"
        save_frames(path, frames, block.resolution)
        targets = len(targets_of(motion, block.stride)) if wanted else 0
        metrics: dict[str, Any] = {
            "frames": len(frames),
            "targets": targets,
            "metres_per_unit": round(scale, 4),
            "filled": round(float(np.mean([frame.filled.mean() for frame in frames])), 5) if frames else 0.0,
        }
        return StageResult(
            {"frames": path},
            metrics=metrics,
            warnings=_warnings(view, motion, len(frames), targets),
            backends=() if self._generator is None else (self._generator.record.use(),),
        )

    def _paths(self, inputs: StageInputs[WorldExplorerParams]) -> Iterator[Remembered]:
        """The paths of all earlier motions; for the classic backend only the frames with filled pixels."""
        for stage in self.context.stage.upstream():
            if stage.startswith("expand-"):
                for member in inputs.members(stage):
                    found = member.files["frames"]
                    assert isinstance(found, Path)
                    yield (
                        int(member.sample.attributes["view"]),
                        load_frames(found, filled_only=self._generator is None),
                    )


def free_cameras(view: int, motion: str, block: ExpansionParams, space: FreeSpace) -> tuple[float, list[Camera]]:
    """Metres per unit of the path, and its cameras up to the first that would come too close to a surface."""
    targets = targets_of(motion, block.stride)

    def cameras(unit: float) -> list[Camera]:
        return target_cameras(view, motion, targets, unit, block.resolution)

    asked = np.stack([camera.position for camera in cameras(block.unit)])
    unit = block.unit * space.scale_of(asked, block.clearance)
    found = cameras(unit)
    positions = np.stack([camera.position for camera in found])
    return unit, found[: space.steps_until_blocked(positions, block.clearance)]


def read_distance(path: Path) -> Any:
    """(H, 2 H) float32 metres along the rays."""
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["distance"]


def save_frames(path: Path, frames: Sequence[WorldFrame], size: int) -> None:
    """Writes frames to an ``.npz`` file: equal frames give equal bytes."""
    count = len(frames)
    arrays: dict[str, Any] = {
        "srgb": np.stack([each.srgb for each in frames]) if count else np.zeros((0, size, size, 3), np.uint8),
        "depth": np.stack([each.depth for each in frames]) if count else np.zeros((0, size, size), np.float32),
        "filled": np.stack([each.filled for each in frames]) if count else np.zeros((0, size, size), np.bool_),
        "intrinsics": np.stack([each.camera.intrinsics for each in frames]) if count else np.zeros((0, 3, 3)),
        "camera_from_world": np.stack([each.camera.camera_from_world for each in frames])
        if count
        else np.zeros((0, 4, 4)),
    }
    save_arrays(path, arrays)


def load_frames(path: Path, *, filled_only: bool = False) -> list[WorldFrame]:
    """The inverse of :func:`save_frames`, optionally only frames with filled pixels."""
    with np.load(path, allow_pickle=False) as arrays:
        filled = arrays["filled"]
        numbers = [number for number, each in enumerate(filled) if each.any() or not filled_only]
        if not numbers:
            return []
        srgb, depth = arrays["srgb"], arrays["depth"]
        intrinsics, poses = arrays["intrinsics"], arrays["camera_from_world"]
        height, width = filled.shape[1:]
        return [
            WorldFrame(Camera(intrinsics[n], width, height, poses[n]), srgb[n], depth[n], filled[n]) for n in numbers
        ]


def _warnings(view: int, motion: str, made: int, targets: int) -> list[str]:
    if made == targets:
        return []
    if made == 0:
        return [
            f"view {view:03d}, {motion}: blocked at once, no frame was made; lower expansion.clearance or the scale"
        ]
    return [f"view {view:03d}, {motion}: a surface blocks the path after {made} of {targets} poses"]
