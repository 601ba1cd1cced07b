"""Gathers all paths into the capture that other programs read, with its points and the initial Gaussians."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.scenes.preparation import read_png
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera, rigid
from scenewright_stages.vision.imaging.colour import uint8_from_unit
from scenewright_stages.vision.places.worlds.memory import WorldFrame
from scenewright_stages.vision.places.worlds.mesh import Surface
from scenewright_stages.vision.places.worlds.motions import VIEW_DEGREES, VIEWS, turned, view_camera
from scenewright_stages.vision.places.worlds.panorama import cut_view
from scenewright_stages.vision.places.worlds.surfels import panorama_surfels, strides_of, surfels
from scenewright_stages.worldexplorer.capture import CaptureFrame, write_capture
from scenewright_stages.worldexplorer.expansion import load_frames, read_distance
from scenewright_stages.worldexplorer.measuring import load_estimator, measured_start
from scenewright_stages.worldexplorer.params import WorldExplorerParams
from scenewright_stages.worldexplorer.scaffold import INVENTED

_OPACITY = 0.95
_LEAST_FILLED = 20
_POLE_DEGREES = 55.0


class PointsStage(Stage[WorldExplorerParams]):
    """Makes the capture."""

    def __init__(self, context: StageContext[WorldExplorerParams]) -> None:
        super().__init__(context)
        self._estimator = load_estimator(self.params.points, context.models)

    def process(self, sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> StageResult:
        """Writes images, ``transforms.json``, points and initial Gaussians."""
        panorama = read_png(inputs.path("scaffold", "panorama"))
        distance = read_distance(inputs.path("depth", "distance"))
        surface = Surface.of_panorama(panorama, distance)
        paths = list(self._paths(inputs))
        frames = [*centre_frames(panorama, inputs.params.expansion.resolution)]
        for number, (name, path) in enumerate(paths):
            every = inputs.params.training.held_out_every
            held_out = number % every == every // 2
            frames.extend(
                CaptureFrame(f"{name}_{at:03d}", each.camera, each.srgb, held_out) for at, each in enumerate(path)
            )
        path_frames = [each for _, path in paths for each in path]
        start = start_scene(surface, path_frames, inputs.params.training.start_points)
        facts: dict[str, Any] = {}
        if inputs.params.points.method != "scaffold":
            kept_back = {frame.camera for frame in frames if frame.held_out}
            used = [each for each in path_frames if each.camera not in kept_back]
            place, block = inputs.workspace / "measuring", inputs.params.points
            start, facts = measured_start(start, used, block, _OPACITY, self._estimator, place, self.context.progress)
        folder = inputs.workspace / "img2trajvid"
        write_capture(folder, frames, start, distance)
        scene = inputs.workspace / "start.npz"
        start.save_npz(scene)
        metrics = {
            "pictures": len(frames),
            "held_out": sum(frame.held_out for frame in frames),
            "points": len(start),
            "invented": round(_invented_share(inputs), 4),
            **facts,
        }
        uses = () if self._estimator is None else (self._estimator.record.use(),)
        return StageResult({"capture": folder, "start": scene}, metrics=metrics, backends=uses)

    def _paths(self, inputs: StageInputs[WorldExplorerParams]) -> Iterator[tuple[str, list[WorldFrame]]]:
        """Every path with frames, by motion and view, with its name."""
        for stage in self.context.stage.upstream():
            if stage.startswith("expand-"):
                for member in inputs.members(stage):
                    found = member.files["frames"]
                    assert isinstance(found, Path)
                    frames = load_frames(found)
                    if frames:
                        yield f"{int(member.sample.attributes['view']):03d}_{stage.removeprefix('expand-')}", frames


def centre_frames(panorama: NDArray[np.float32], size: int) -> Iterator[CaptureFrame]:
    """The eight views, and the views up and down, from the centre."""
    lens = view_camera(0, size)
    for view in range(VIEWS):
        yield _centre(panorama, f"{view:03d}", view_camera(view, size))
    for number in range(VIEWS):
        pitch = _POLE_DEGREES if number % 2 else -_POLE_DEGREES
        pose = rigid(turned(-VIEW_DEGREES * 0.75 * number, pitch).T, np.zeros(3))
        yield _centre(panorama, f"pole_{number}", lens.with_pose(pose))


def _centre(panorama: NDArray[np.float32], name: str, camera: Camera) -> CaptureFrame:
    return CaptureFrame(name, camera, uint8_from_unit(cut_view(panorama, camera)), held_out=False)


def start_scene(panorama: Surface, frames: Sequence[WorldFrame], limit: int) -> GaussianScene:
    """A flat Gaussian per pixel of the panorama and per filled pixel of the paths."""
    height = len(panorama.points)
    while strides_count(height) > limit and height > 32:
        height = int(height * 0.9)
    if height < len(panorama.points):
        size = (2 * height, height)
        panorama = Surface.of_panorama(
            np.asarray(cv2.resize(panorama.srgb, size, interpolation=cv2.INTER_AREA), np.float32),
            np.asarray(cv2.resize(panorama.distance, size, interpolation=cv2.INTER_NEAREST), np.float32),
        )
    added = (frame for frame in frames if frame.filled.sum() >= _LEAST_FILLED)
    parts = [surfels(frame.surface(), frame.filled, _OPACITY) for frame in added]
    return GaussianScene.concatenate([panorama_surfels(panorama, _OPACITY), *parts])


def strides_count(height: int) -> int:
    """The number of Gaussians for a panorama of `height` rows."""
    return int(sum(-(-2 * height // int(stride)) for stride in strides_of(height)))


def _invented_share(inputs: StageInputs[WorldExplorerParams]) -> float:
    origin = cv2.imread(str(inputs.path("scaffold", "origin")), cv2.IMREAD_GRAYSCALE)
    return float((np.asarray(origin) == INVENTED).mean())
