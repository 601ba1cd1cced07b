"""The stage that estimates the camera poses of photographs.

It is separate from the capture stage because it imports COLMAP, which nothing else needs.
"""

from __future__ import annotations

from typing import Any, Protocol

from scenewright_stages.captures import PosesParams
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageInputs, StageResult
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.colmap import MODEL_FILES
from scenewright_stages.vision.places.captures.estimation import EstimationSettings, estimate_poses
from scenewright_stages.vision.places.captures.finding import is_photograph, photograph_name


class PosesBlock(Protocol):
    """Parameters of pipelines that estimate poses."""

    @property
    def poses(self) -> PosesParams:
        """How."""


class PosesStage(Stage[Any]):
    """Estimates the camera poses of a sample's photographs."""

    def process(self, sample: Sample, inputs: StageInputs[Any]) -> StageResult:
        """Writes a COLMAP model; a warning names photographs without a pose."""
        params: PosesBlock = inputs.params
        pictures = {photograph_name(role): inputs.path(INPUT, role) for role in sample.files if is_photograph(role)}
        settings = EstimationSettings(params.poses.features, params.poses.max_resolution, inputs.seed % 2**31)
        try:
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
        return StageResult(outputs, metrics=metrics, warnings=found.notes())
