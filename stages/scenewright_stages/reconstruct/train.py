"""Trains the scene on the training photographs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.reconstruct.params import ReconstructParams, SceneTrainingParams
from scenewright_stages.reconstruct.schedule import LARGEST_ANGLE, MANY_VIEWS, degree, set_aside
from scenewright_stages.reconstruct.stopping import curve_facts, curve_file, validation_curve
from scenewright_stages.reconstruct.views import Roles, roles_of
from scenewright_stages.scenes.captures import start_of, train_resumably, training_settings, views_of
from scenewright_stages.scenes.frames import stage_renderer
from scenewright_stages.vision.gaussians.surroundings import with_surroundings
from scenewright_stages.vision.gaussians.training import TrainingSettings
from scenewright_stages.vision.places.captures.pictures import PosedPhotographs

MINIMUM_TRAINING_VIEWS = 2
LEAST_JUDGED = 0.05
"""Least share of valid pixels of a photograph on which a scene is measured."""
_COVERAGE_WEIGHT = 0.05
"""On aerial photographs of trees it closed holes in 9 % of the pixels; PSNR changed by less than 0.1 dB."""


class TrainStage(Stage[ReconstructParams]):
    """Trains the scene."""

    def __init__(self, context: StageContext[ReconstructParams]) -> None:
        super().__init__(context)
        self.renderer = stage_renderer(context.models)

    def process(self, sample: Sample, inputs: StageInputs[ReconstructParams]) -> StageResult:
        """Writes the scene; an interrupted process resumes at the last segment."""
        photographs = PosedPhotographs.load(inputs.path("capture", "photographs"))
        roles = capture_roles(photographs, inputs.params)
        params = inputs.params.training.settled(len(roles.train))
        settings = scene_settings(inputs.params.training, len(roles.train))
        chosen = self._length(photographs, roles, settings, inputs)
        start = start_of(photographs, roles.train, params, inputs.seed)
        scene = train_resumably(
            start,
            views_of(photographs, roles.train),
            settings,
            self.renderer,
            self.context,
            inputs,
            before=settings.steps if chosen else 0,
            until=chosen.get("steps"),
            kept=curve_file(chosen["curve"], inputs) if chosen else {},
        )
        trained = len(scene)
        if inputs.params.training.preset and len(roles.train) < MANY_VIEWS:
            cameras = [photographs.photographs[number].camera for number in roles.train]
            scene = with_surroundings(scene, cameras, self.renderer)
        path = inputs.workspace / "trained_scene.npz"
        scene.to("cpu").save_npz(path)
        warnings = [f"{start.seeded} start points are random: the capture brings hardly any"] if start.seeded else []
        warnings += masked_notes(photographs, roles)
        metrics = {"gaussians": len(scene), **counts(roles), **({"validation": chosen} if chosen else {})}
        if len(scene) > trained:
            metrics["continued"] = len(scene) - trained
        return StageResult({"scene": path}, metrics=metrics, warnings=warnings)

    def _length(
        self,
        photographs: PosedPhotographs,
        roles: Roles,
        settings: TrainingSettings,
        inputs: StageInputs[ReconstructParams],
    ) -> dict[str, Any]:
        """How long to train, with the curve that says so; empty where the settings say it."""
        block, count = inputs.params.training, len(roles.train)
        places = set_aside(count) if block.preset else ()
        if not places:
            return {}
        aside = [roles.train[place] for place in places]
        others = [number for number in roles.train if number not in aside]
        curve = validation_curve(
            start_of(photographs, others, block.settled(count), inputs.seed),
            views_of(photographs, others),
            views_of(photographs, aside),
            settings,
            self.renderer,
            self.context,
            inputs,
        )
        return curve_facts(curve, [photographs.photographs[number].name for number in aside])


def scene_settings(params: SceneTrainingParams, views: int) -> TrainingSettings:
    """Settings for a scene to be viewed: nothing behind a surface may shine through."""
    settings = replace(training_settings(params.settled(views)), coverage_weight=_COVERAGE_WEIGHT)
    if not params.preset:
        return settings
    angle = LARGEST_ANGLE if views < MANY_VIEWS else settings.largest_angle
    return replace(settings, harmonics_degree=degree(views, settings.harmonics_degree), largest_angle=angle)


def capture_roles(photographs: PosedPhotographs, params: ReconstructParams) -> Roles:
    """The photographs' roles; copies have none, and one without a valid pixel does not train.

    Raises:
        SampleError: a required role gets no photograph, or one that judges has hardly a valid pixel.
    """
    pictures = photographs.photographs
    kept = [number for number in range(len(pictures)) if number not in photographs.left_out]
    count = len(kept)
    given = [photographs.held_out[number] for number in kept]
    roles = roles_of(count, params.held_out_every, params.deciding_every, given)
    roles = Roles(*(tuple(kept[place] for place in places) for places in vars(roles).values()))
    for number in (*roles.held_out, *roles.gate):
        if pictures[number].valid_share < LEAST_JUDGED:
            raise SampleError(
                "Masked",
                f"{pictures[number].name} is a photograph that judges the scene, and {pictures[number].valid_share:.1%}"
                f" of its pixels are valid; at least {LEAST_JUDGED:.0%} are needed: leave it out, unmask more of it, "
                "or change heldOutEvery",
            )
    roles = replace(roles, train=tuple(number for number in roles.train if pictures[number].valid_share > 0))
    undecided = params.deciding_every and not roles.gate
    if len(roles.train) < MINIMUM_TRAINING_VIEWS or undecided or not roles.held_out:
        raise SampleError(
            "TooFewViews",
            f"{count} photographs give {counts(roles)}: lower heldOutEvery or gateEvery, or take more photographs",
        )
    return roles


def masked_notes(photographs: PosedPhotographs, roles: Roles) -> list[str]:
    """Names the photographs that do not train because nothing of them is valid."""
    used = {*roles.train, *roles.gate, *roles.held_out, *photographs.left_out}
    names = [each.name for number, each in enumerate(photographs.photographs) if number not in used]
    return [f"not a pixel is valid, so they do not train: {', '.join(names)}"] if names else []


def counts(roles: Roles) -> dict[str, int]:
    """How many photographs have each role."""
    return {f"{name}_views": len(numbers) for name, numbers in vars(roles).items()}
