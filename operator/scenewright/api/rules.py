"""Cross-field rules, each declared once: a predicate for pydantic and its twin in CEL for the API server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from scenewright_stages.contract.params import Params
from scenewright_stages.photographs.params import ORDERED, RangedParams
from scenewright_stages.relight.params import (
    AlbedoParams,
    DegradationParams,
    RelightParams,
    SegmentationParams,
    ShadowParams,
    WeightsParams,
)
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


def _ordered(block: type[RangedParams]) -> tuple[Rule, ...]:
    """Both ends of each of its ranges are in order."""
    return tuple(_ordered_range(name) for name in block.ordered_ranges)


def _ordered_range(name: str) -> Rule:
    alias = to_camel(name)

    def holds(block: Any) -> bool:
        low, high = getattr(block, name)
        return bool(low <= high)

    return Rule(alias, f"self.{alias}[0] <= self.{alias}[1]", ORDERED, holds)


CHAIN_OR_BACKEND = Rule(
    "backends",
    "size(self.backends) == 0 || self.backend == 'classic'",
    "contradicts backend: give either",
    lambda block: not block.backends or block.backend == "classic",
)

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
    SegmentationParams: (
        CHAIN_OR_BACKEND,
        Rule(
            "box",
            "size(self.box) == 0 || (size(self.box) == 4 && self.box[0] < self.box[2] && self.box[1] < self.box[3])",
            "must be left, top, right, bottom with left < right and top < bottom",
            lambda block: (
                not block.box or (len(block.box) == 4 and block.box[0] < block.box[2] and block.box[1] < block.box[3])
            ),
        ),
    ),
    AlbedoParams: (CHAIN_OR_BACKEND, *_ordered(AlbedoParams)),
    WeightsParams: (
        Rule(
            "softShading",
            "self.softShading + self.hardShadow + self.specular + self.advancedShading > 0.0",
            "at least one weight must be above 0: no sample stays without new light",
            lambda block: block.soft_shading + block.hard_shadow + block.specular + block.advanced_shading > 0,
        ),
    ),
    ShadowParams: _ordered(ShadowParams),
    DegradationParams: _ordered(DegradationParams),
    RelightParams: (
        Rule(
            "keep",
            "self.keep.exists(folder, folder == 'outputs')",
            "must name outputs: they are the data set",
            lambda block: "outputs" in block.keep,
        ),
        Rule(
            "preset",
            "self.preset == '' || (size(self.segmentation.backends) == 0 && size(self.albedo.backends) == 0 && "
            "self.segmentation.backend == 'classic' && self.albedo.backend == 'classic' && "
            "self.normals.backend == 'classic')",
            "names the backends: leave those of the blocks out",
            lambda block: not block.preset or block.backends_are_defaults(),
        ),
    ),
}
"""CEL twins of the rules that the parameter blocks of the pipelines check themselves."""


def rules_of(model: type[Params]) -> tuple[Rule, ...]:
    """The rules of a block, wherever they are declared."""
    return (*getattr(model, "rules", ()), *PIPELINE_RULES.get(model, ()))
