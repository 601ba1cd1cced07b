"""Cross-field rules, each declared once: a predicate for pydantic and its twin in CEL for the API server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from scenewright_stages.contract.params import Params
from scenewright_stages.vistadream.params import (
    SEED_BACKWARD_RATIO,
    SEED_FORWARD_RATIO,
    CoarseParams,
    TrajectoryParams,
)

BROKEN_RULES = "broken_rules"
"""Type of the pydantic error that carries the rules that a block breaks."""


@dataclass(frozen=True)
class Rule:
    """A condition over several fields of one block.

    Attributes:
        field: dotted path, below the block, of the field that the user should look at.
        cel: the condition for the API server; ``self`` is the block.
        message: what is required, as a sentence that holds for the CLI and the API server.
        holds: the same condition over the pydantic model of the block.
    """

    field: str
    cel: str
    message: str
    holds: Callable[[Any], bool]


class RuledBlock(Params):
    """A block whose cross-field rules pydantic and the API server both check."""

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        broken = [(rule.field, rule.message) for rule in self.rules if not rule.holds(self)]
        if broken:
            text = "; ".join(f"{field}: {message}" for field, message in broken)
            raise PydanticCustomError(BROKEN_RULES, "{text}", {"text": text, "broken": broken})
        return self


PIPELINE_RULES: dict[type[Params], tuple[Rule, ...]] = {
    CoarseParams: (
        Rule(
            "minInpaintRatio",
            "self.minInpaintRatio <= self.maxInpaintRatio",
            "must not exceed maxInpaintRatio",
            lambda block: block.min_inpaint_ratio <= block.max_inpaint_ratio,
        ),
    ),
    TrajectoryParams: (
        Rule(
            "motionPreset",
            "self.motionPreset == '' || "
            f"(self.forwardRatio == {SEED_FORWARD_RATIO} && self.backwardRatio == {SEED_BACKWARD_RATIO})",
            "contradicts forwardRatio and backwardRatio: give either the preset or the ratios",
            lambda block: (
                not block.motion_preset
                or (block.forward_ratio, block.backward_ratio) == (SEED_FORWARD_RATIO, SEED_BACKWARD_RATIO)
            ),
        ),
    ),
}
"""CEL twins of the rules that the parameter blocks of the pipelines check themselves."""


def rules_of(model: type[Params]) -> tuple[Rule, ...]:
    """The rules of a block, wherever they are declared."""
    return (*getattr(model, "rules", ()), *PIPELINE_RULES.get(model, ()))
