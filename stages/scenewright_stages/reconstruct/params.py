"""Parameters of a reconstruction: which photographs train, decide and judge, and how a fixer helps."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from scenewright_stages.captures import Exposure, PosesParams, TrainingParams, exposure_field
from scenewright_stages.contract.params import Params, Rule
from scenewright_stages.exports import ExportParams
from scenewright_stages.reconstruct.schedule import MANY_VIEWS

_RELEASED = ("difix", "difix_ref")
_ONE_ROUND = {"rounds": 1}


class TuningRunReference(Params):
    """A checkpoint of a TuningRun of this namespace."""

    name: str = Field(
        default="",
        max_length=253,
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$",
        description="Name of the TuningRun. The job waits until it is Complete.",
    )
    step: str = Field(
        default="best",
        max_length=12,
        pattern=r"^(best|latest|[0-9]+)$",
        description="Which checkpoint of the run: best, latest, or that of one of the last ten steps that were kept.",
    )


class DifixParams(Params):
    """Rounds in which a tuned fixer repairs views between the photographs and the scene learns from them."""

    backend: Literal["classic", "difix"] = Field(
        default="classic", description="Which kind of fixer the checkpoint is of: that of the run which made it."
    )
    variant: Literal["", "sd-turbo", "difix", "difix_ref"] = Field(
        default="",
        description="Which base of difix: that which the run was tuned from. The released fixers difix and difix_ref "
        "also serve without a run or checkpoint.",
    )
    tuning_run: TuningRunReference = TuningRunReference()
    checkpoint: str = Field(
        default="",
        max_length=1024,
        pattern=r"^(|[^\s]+\.safetensors)$",
        description="A checkpoint's URI instead of a run's name.",
    )
    rounds: int = Field(default=0, ge=0, le=50, description="How often views are repaired and learned from. 0: never.")
    round_steps: int = Field(default=400, ge=10, le=50_000, description="Optimisation steps of a round.")
    walk: Literal["between", "heldOut"] = Field(
        default="between",
        description="Where views are repaired: between training photographs, or on the way to the held-out ones, "
        "further with each round, as DiFix does. With heldOut the quality on held-out photographs is not blind, which "
        "a warning says.",
    )
    views: int = Field(default=12, ge=1, le=500, description="Views between photographs that a round repairs.")
    weight: float = Field(default=0.3, gt=0.0, le=10.0, description="Weight of a repaired view in the loss.")
    share: float = Field(
        default=0.3, gt=0.0, lt=1.0, description="Share of a round's steps that learn from repaired views."
    )
    gain: float = Field(
        default=0.1,
        ge=0.0,
        le=20.0,
        description="A round runs with and without its repaired views; they are kept if the gate views gain at least "
        "so many dB over the round without them and over the scene before.",
    )

    final_pass: bool = Field(
        default=False,
        description="Whether the fixer also repairs the finished flight, as a second video; the Gaussians stay as they "
        "are.",
    )

    @property
    def fixes(self) -> bool:
        """Whether a fixer is needed."""
        return bool(self.rounds) or self.final_pass

    @property
    def tuned(self) -> bool:
        """Whether a checkpoint is named."""
        return bool(self.tuning_run.name or self.checkpoint)

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "rounds",
            "(self.rounds == 0 && !self.finalPass) || self.tuningRun.name != '' || self.checkpoint != '' || "
            "self.variant in ['difix', 'difix_ref']",
            "needs a fixer: give tuningRun.name, a checkpoint, or a variant that was released as a fixer",
            lambda block: not block.fixes or block.tuned or block.variant in _RELEASED,
            (_ONE_ROUND, {"finalPass": True}, {**_ONE_ROUND, "backend": "difix", "variant": "sd-turbo"}),
        ),
        Rule(
            "variant",
            "self.backend == 'difix' || self.variant == ''",
            "is of difix alone: classic has no base model",
            lambda block: block.backend != "classic" or not block.variant,
            ({"variant": "difix_ref"},),
        ),
        Rule(
            "checkpoint",
            "self.checkpoint == '' || self.tuningRun.name == ''",
            "contradicts tuningRun: give either",
            lambda block: not (block.checkpoint and block.tuning_run.name),
            ({"checkpoint": "s3://runs/one/checkpoints/model_100.safetensors", "tuningRun": {"name": "one"}},),
        ),
    )


_PRESETS: dict[str, dict[str, Any]] = {
    "preview": {"steps": 1500, "segment": 100, "start_points": 20_000, "maximum": 40_000},
    "quality": {
        "steps": 30_000, "segment": 500, "start_points": 100_000, "maximum": 1_000_000, "harmonics_degree": 3,
        "growth": 1.0, "exploration": True, "coarse": 4,
    },
}  # fmt: skip


class SceneTrainingParams(TrainingParams):
    """How a scene is trained from a capture's photographs."""

    preset: Literal["", "preview", "quality"] = Field(
        default="",
        description="preview or quality: the preset's values replace those of the other fields that have their "
        "default, and with 5 to 59 training photographs some of them first decide how long to train. preview: for two "
        "cores, at most 1500 steps and 40000 Gaussians. quality: for a GPU, 30000 steps, 1000000 Gaussians and "
        "harmonics of degree 3, as worldexplorer's; with fewer than 60 training photographs as preview, for more of "
        "either makes their scene worse from elsewhere.",
    )

    def settled(self, views: int) -> TrainingParams:
        """All fields of the trainer for a number of training photographs."""
        stated = {name: getattr(self, name) for name in TrainingParams.model_fields}
        if not self.preset:
            return TrainingParams(**stated)
        values = _PRESETS["preview" if views < MANY_VIEWS else self.preset]
        usual = TrainingParams()
        changed = {name: value for name, value in stated.items() if value != getattr(usual, name)}
        return usual.model_copy(update={**values, **changed})


class RenderParams(Params):
    """The flight along the photographs."""

    frames: int = Field(default=90, ge=2, le=2000, description="Frames of the video.")
    frames_per_second: int = Field(default=25, ge=1, le=120, description="Frame rate of the video in 1/s.")


class ReconstructParams(Params):
    """Photographs become a 3D scene of Gaussian splats."""

    poses: PosesParams = PosesParams()
    max_resolution: int = Field(
        default=640, ge=32, le=4096, description="Longest side of the photographs in training, in pixels."
    )
    exposure: Exposure = exposure_field()
    held_out_every: int = Field(
        default=6,
        ge=2,
        le=1000,
        description="Every n-th photograph is held out: it neither trains nor decides, and the quality is reported on "
        "it.",
    )
    gate_every: int = Field(
        default=6,
        ge=2,
        le=1000,
        description="Where rounds repair views, every n-th of the others does not train but decides whether they help.",
    )
    training: SceneTrainingParams = SceneTrainingParams()
    difix: DifixParams = DifixParams()
    render: RenderParams = RenderParams()
    export: ExportParams = ExportParams()

    @property
    def deciding_every(self) -> int:
        """``gate_every`` where rounds ask for a decision, else 0: no photograph is kept from training for it."""
        return self.gate_every if self.difix.rounds else 0
