"""Parameter blocks and value ranges that the pipelines over photographs share.

The operator imports this module with the pipelines' own parameters: it needs nothing but pydantic.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from scenewright_stages.contract.params import Params

Share = Annotated[float, Field(ge=0.0, le=1.0)]
ShareRange = Annotated[list[Share], Field(min_length=2, max_length=2)]
AngleRange = Annotated[list[Annotated[float, Field(ge=-360.0, le=360.0)]], Field(min_length=2, max_length=2)]
PositiveRange = Annotated[list[Annotated[float, Field(gt=0.0, le=100000.0)]], Field(min_length=2, max_length=2)]

ORDERED = "must be the lower and the upper end, in this order"


class RangedParams(Params):
    """A block with ranges whose ends must be in order; the API server's rules are made from the same names."""

    ordered_ranges: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _ranges_are_ordered(self) -> Self:
        for name in self.ordered_ranges:
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{type(self).model_fields[name].alias or name}: {ORDERED}")
        return self


class ModelParams(Params):
    """How a model backend runs; backends without weights ignore it."""

    variant: str = Field(default="", max_length=64, description="Which weights of a model backend; empty: its default.")
    precision: Literal["", "fp32", "fp16", "bf16"] = Field(
        default="", description="Arithmetic of a model backend; empty: its default on the device."
    )
    batch: int = Field(
        default=0, ge=0, le=256, description="Images that a model backend works on together; 0: its default."
    )
