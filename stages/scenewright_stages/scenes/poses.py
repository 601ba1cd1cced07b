"""The stage that estimates the camera poses of photographs.

It is separate from the capture stage because it imports COLMAP, which nothing else needs.
"""

from __future__ import annotations

from typing import Any, Protocol

from scenewright_stages.captures import FRAMES, PosesParams
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageInputs, StageResult
from scenewright_stages.vision.places.captures.bare import VIDEO
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.colmap import MODEL_FILES
from scenewright_stages.vision.places.captures.estimation import EstimationSettings, estimate_poses
from scenewright_stages.vision.places.captures.finding import is_photograph, photograph_name
from scenewright_stages.vision.places.captures.walking import write_frames


class PosesBlock(Protocol):
    """Parameters of pipelines that estimate poses."""

    @property
    def poses(self) -> PosesParams:
        """How."""


class PosesStage(Stage[Any]):
    """Estimates the camera poses of a sample's photographs."""

    def process(self, sample: Sample, inputs: StageInputs[Any]) -> StageResult:
        """Writes a COLMAP model, and the chosen frames of a video; a warning names photographs without a pose."""
        params: PosesBlock = inputs.params
        pictures = {photograph_name(role): inputs.path(INPUT, role) for role in sample.files if is_photograph(role)}
        video = next((inputs.path(INPUT, role) for role in sample.files if role.startswith(VIDEO)), None)
        settings = EstimationSettings(
            params.poses.features, params.poses.max_resolution, inputs.seed % 2**31, in_order=video is not None
        )
        notes: list[str] = []
        try:
            if video is not None:
                longest = max(params.poses.max_resolution, inputs.params.max_resolution)
                frames = write_frames(video, inputs.workspace / FRAMES, params.poses.video.frames, longest)
                pictures, notes = {path.name: path for path in frames.paths}, list(frames.notes)
            found = estimate_poses(pictures, inputs.workspace, settings, self.context.progress)
        except CaptureError as problem:
            raise SampleError(problem.reason, str(problem)) from problem
        metrics = {
            "photographs": len(pictures),
            "registered": len(found.registered),
            "points": found.points,
            "reprojection_error": round(found.reprojection_error, 4),
        }
        outputs = {name: inputs.workspace / f"{name}.txt" for name in MODEL_FILES}
        if video is not None:
            outputs[FRAMES] = inputs.workspace / FRAMES
        return StageResult(outputs, metrics=metrics, warnings=[*notes, *found.notes()])
