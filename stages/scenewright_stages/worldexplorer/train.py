"""Trains the scene on the capture of a world, holding out whole paths."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.scenes.captures import train_resumably, training_settings, view_of
from scenewright_stages.scenes.frames import stage_renderer
from scenewright_stages.vision.gaussians.objective import OptimisationSettings
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.training import TrainingSettings
from scenewright_stages.worldexplorer.capture import read_world_capture
from scenewright_stages.worldexplorer.params import WorldExplorerParams


@dataclass(frozen=True)
class WorldTraining(TrainingSettings):
    """Training settings for a world, whose surfaces start closed and in place: they must stay opaque and hardly move.

    Omits the regularisers of an exploration, which shrink what few images see, because the walk sees all of it.
    """

    def optimisation(self, number: int, extent: float) -> OptimisationSettings:
        """Settings of a segment."""
        plain = super().optimisation(number, extent)
        return replace(
            plain,
            coverage_weight=0.1,
            means_rate=0.2 * plain.means_rate,
            log_scales_rate=2e-3,
            opacity_weight=0.0,
            scale_weight=0.0,
        )


class TrainStage(Stage[WorldExplorerParams]):
    """Trains the scene."""

    def __init__(self, context: StageContext[WorldExplorerParams]) -> None:
        super().__init__(context)
        self.renderer = stage_renderer(context.models)

    def process(self, sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> StageResult:
        """Writes the scene; an interrupted process resumes at the last segment."""
        settings = WorldTraining(**vars(training_settings(inputs.params.training.settled())))
        capture = read_world_capture(inputs.path("points", "capture"), inputs.params.training.held_out_every)
        made, warnings = inputs.find("points", "start"), list[str]()
        if made is not None:
            start = GaussianScene.load_npz(made)
        else:
            start, warnings = capture.start(inputs.params.training.start_points, inputs.seed)
        views = [view_of(each) for each in capture.train]
        scene = train_resumably(start, views, settings, self.renderer, self.context, inputs)
        path = inputs.workspace / "scene.npz"
        scene.to("cpu").save_npz(path)
        return StageResult({"scene": path}, metrics={"gaussians": len(scene), "views": len(views)}, warnings=warnings)
