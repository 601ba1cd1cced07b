"""Parameters of the run that tunes a fixer on pairs."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from scenewright_stages.contract.params import Params, Rule

_LARGEST_RATE = 5e-4


class LossParams(Params):
    """Weights of the terms of the loss."""

    l1: float = Field(default=1.0, ge=0.0, le=100.0, description="Mean absolute difference to the photograph.")
    l2: float = Field(default=4.0, ge=0.0, le=100.0, description="Mean squared difference.")
    gradient: float = Field(default=0.5, ge=0.0, le=100.0, description="Mean absolute difference of the gradients.")


class FixerParams(Params):
    """A fixer learns from pairs how renders differ from photographs."""

    backend: Literal["classic", "difix"] = Field(
        default="classic",
        description="classic: a small network from scratch, on the CPU, without weights; difix: SD-Turbo, which needs "
        "a GPU and its licence.",
    )
    steps: int = Field(default=600, ge=1, le=1_000_000, description="Optimisation steps.")
    batch: int = Field(default=8, ge=1, le=256, description="Crops or pictures in each step.")
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

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "learningRate",
            "self.backend == 'classic' || self.learningRate <= 0.0005",
            "must be at most 0.0005 where backend is difix, such as 0.00002: larger steps destroy what SD-Turbo knows",
            lambda block: block.backend == "classic" or block.learning_rate <= _LARGEST_RATE,
            ({"backend": "difix"},),
        ),
    )
