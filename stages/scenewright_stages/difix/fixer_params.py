"""Parameters of the run that tunes a fixer on pairs."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from scenewright_stages.contract.params import Params, Rule

COMPILED_FROM = 1000
"""Steps from which the time that compiling takes is won back, by a wide margin."""
_LARGEST_RATE = 5e-4
_TWO_GPUS = {"gpus": 2}
_ONE_PICTURE = {"batch": 1, "learningRate": _LARGEST_RATE, "difix": _TWO_GPUS}


class LossParams(Params):
    """Weights of the terms of the classic fixer's loss, over pictures in [0, 1]."""

    l1: float = Field(default=1.0, ge=0.0, le=100.0, description="Mean absolute difference to the photograph.")
    l2: float = Field(default=4.0, ge=0.0, le=100.0, description="Mean squared difference.")
    gradient: float = Field(default=0.5, ge=0.0, le=100.0, description="Mean absolute difference of the gradients.")


class DifixLossParams(Params):
    """Weights of the terms of difix's loss, which are DiFix's, over pictures in [-1, 1]."""

    l2: float = Field(default=1.0, ge=0.0, le=100.0, description="Mean squared difference to the photograph.")
    lpips: float = Field(
        default=1.0,
        ge=0.0,
        le=100.0,
        description="Perceptual distance (LPIPS on VGG-16). It needs the weights of VGG-16; 0 does without.",
    )
    gram: float = Field(
        default=1.0,
        ge=0.0,
        le=100.0,
        description="Distance of textures: Gram matrices of VGG-16's features. It needs the same weights; 0 does "
        "without.",
    )
    gram_after: int = Field(default=2000, ge=0, le=1_000_000, description="Steps before textures count.")
    gram_crop: int = Field(
        default=400,
        ge=32,
        le=4096,
        description="Side in pixels of the random crop whose textures are compared; smaller pictures count whole.",
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "l2",
            "self.l2 + self.lpips + self.gram > 0.0",
            "must be above 0 where lpips and gram are 0: nothing would be learned",
            lambda block: block.l2 + block.lpips + block.gram > 0,
            ({"l2": 0.0, "lpips": 0.0, "gram": 0.0},),
        ),
    )


class DifixTuningParams(Params):
    """What holds for backend difix alone."""

    losses: DifixLossParams = DifixLossParams()
    gpus: int = Field(
        default=1,
        ge=1,
        le=8,
        description="GPUs of one Pod. Each takes its share of every batch, so their number changes the pace and not "
        "the result, up to rounding.",
    )
    nodes: int = Field(default=1, ge=1, le=64, description="Machines. Only 1 is supported for now.")
    compile: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="Whether the network is compiled, which makes every step faster after a first one of two minutes: "
        "auto does so on a GPU when 1000 steps or more are left.",
    )
    keep_optimiser: bool = Field(
        default=False,
        description="Whether the .pkl holds the optimiser's moments, with which DiFix's own trainer can resume. The "
        "file is three times as large.",
    )

    @property
    def several(self) -> bool:
        """Whether more than one process trains."""
        return self.gpus > 1

    def compiles(self, device: str, steps: int) -> bool:
        """Whether to compile for so many steps on a device."""
        worth = device != "cpu" and steps >= COMPILED_FROM
        return self.compile == "always" or (self.compile == "auto" and worth)

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "nodes",
            "self.nodes == 1",
            "must be 1: training over several machines is not supported yet; set gpus to use more GPUs of one machine",
            lambda block: block.nodes == 1,
            ({"nodes": 2},),
        ),
    )


class FixerParams(Params):
    """A fixer learns from pairs how renders differ from photographs."""

    backend: Literal["classic", "difix"] = Field(
        default="classic",
        description="classic: a small network from scratch, on the CPU, without weights; difix: SD-Turbo, which needs "
        "a GPU and its licence.",
    )
    variant: Literal["", "sd-turbo", "difix", "difix_ref"] = Field(
        default="",
        description="What difix begins from: SD-Turbo (also when empty), or one of the released fixers, which were "
        "trained without or with a reference. The result inherits its licence.",
    )
    steps: int = Field(default=600, ge=1, le=1_000_000, description="Optimisation steps.")
    batch: int = Field(
        default=8,
        ge=1,
        le=256,
        description="Crops or pictures in each step. difix takes pictures one at a time and adds their gradients up, "
        "so memory does not grow with it.",
    )
    crop: int = Field(
        default=64, ge=16, le=1024, description="Side of a crop in pixels; difix learns from whole pictures."
    )
    learning_rate: float = Field(
        default=2e-3, gt=0.0, le=1.0, description="Of AdamW at its height; it rises over the first and falls to zero."
    )
    weight_decay: float = Field(default=1e-4, ge=0.0, le=1.0, description="Of AdamW.")
    ema: float = Field(
        default=0.99, ge=0.0, lt=1.0, description="Weight of the past in the running mean of weights that is kept."
    )
    losses: LossParams = LossParams()
    difix: DifixTuningParams = DifixTuningParams()
    use_reference: bool = Field(default=True, description="Whether the fixer sees the reference view.")
    checkpoint_every: int = Field(default=200, ge=1, le=100_000, description="Steps between two checkpoints.")
    state_every: int = Field(
        default=50, ge=1, le=100_000, description="Steps between two durable states: at most so many are lost."
    )
    validation_fraction: float = Field(
        default=0.15, gt=0.0, le=0.5, description="Share of the training groups that choose the best checkpoint."
    )
    patience: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="Ends the run after so many checkpoints without a better one. 0: never.",
    )
    test_strips: int = Field(default=6, ge=1, le=40, description="Pairs that the evaluation shows.")

    @property
    def needs_perception(self) -> bool:
        """Whether the loss compares pictures by VGG-16."""
        losses = self.difix.losses
        return self.backend == "difix" and bool(losses.lpips or (losses.gram and losses.gram_after < self.steps))

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "variant",
            "self.backend == 'difix' || self.variant == ''",
            "is of difix alone: classic learns from nothing",
            lambda block: block.backend != "classic" or not block.variant,
            ({"variant": "difix_ref"},),
        ),
        Rule(
            "batch",
            "self.batch >= self.difix.gpus",
            "must be at least difix.gpus: every GPU takes a picture of each step",
            lambda block: block.batch >= block.difix.gpus,
            ({"backend": "difix", **_ONE_PICTURE},),
        ),
        Rule(
            "difix.gpus",
            "self.backend == 'difix' || self.difix.gpus == 1",
            "must be 1 for classic, which learns on the CPU",
            lambda block: block.backend != "classic" or not block.difix.several,
            ({"difix": _TWO_GPUS},),
        ),
        Rule(
            "learningRate",
            "self.backend == 'classic' || self.learningRate <= 0.0005",
            "must be at most 0.0005 where backend is difix, such as 0.00002: larger steps destroy what SD-Turbo knows",
            lambda block: block.backend == "classic" or block.learning_rate <= _LARGEST_RATE,
            ({"backend": "difix"},),
        ),
    )
