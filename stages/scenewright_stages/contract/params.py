"""Typed parameter blocks and their cross-field rules.

A rule is declared once, beside its block: a Python predicate, the same condition in CEL for the API server, and
examples that both must refuse. The CRD generator, the command line and the tests read it from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

BROKEN_RULES = "broken_rules"
"""Type of the pydantic error that carries the rules that a block breaks."""


@dataclass(frozen=True)
class Rule:
    """A condition over several fields of one block.

    Attributes:
        field: dotted manifest path, below the block, of the field that the error points at.
        cel: the condition for the API server; ``self`` is the block.
        message: what is required, as a sentence for both the CLI and the API server.
        holds: the same condition over the block's pydantic model.
        refuses: example blocks (as in a manifest) that break this rule and no other; tests run both predicates on them.
    """

    field: str
    cel: str
    message: str
    holds: Callable[[Any], bool]
    refuses: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class OneOf:
    """Annotation of a text field whose values are computed, ``Annotated[str, OneOf(names)]``; else use `Literal`."""

    values: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Accepts the values and nothing else."""
        return core_schema.literal_schema(list(self.values))


class Params(BaseModel):
    """A frozen block of parameters: snake_case in Python, camelCase in manifests, unknown fields refused.

    A subclass lists its cross-field `rules`; blocks that break one are refused with the rule's field and message.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        broken = [(rule.field, rule.message) for rule in self.rules if not rule.holds(self)]
        if broken:
            text = "; ".join(f"{field}: {message}" for field, message in broken)
            raise PydanticCustomError(BROKEN_RULES, "{text}", {"text": text, "broken": broken})
        return self


def ordered(**refused: tuple[float, float]) -> tuple[Rule, ...]:
    """One rule per range field: its lower end must not exceed its upper end.

    Args:
        refused: an invalid (descending) example range, by field.
    """
    return tuple(_ordered_range(name, example) for name, example in refused.items())


def _ordered_range(name: str, refused: tuple[float, float]) -> Rule:
    alias = to_camel(name)

    def holds(block: Any) -> bool:
        low, high = getattr(block, name)
        return bool(low <= high)

    message = "must be the lower and the upper end, in this order"
    return Rule(alias, f"self.{alias}[0] <= self.{alias}[1]", message, holds, ({alias: list(refused)},))


def default_values(model: type[BaseModel]) -> dict[str, Any]:
    """The defaults of a block and its nested blocks as plain JSON, by Python name; omits required fields."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if not field.is_required():
            found[name] = plain(field.get_default(call_default_factory=True))
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found[name] = default_values(field.annotation)
    return found


def plain(value: Any) -> Any:
    """A parameter's value as plain JSON."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return list(value) if isinstance(value, tuple) else value


def merged(block: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A raw block with the overrides applied; nested blocks are merged recursively."""
    result = dict(block)
    for name, value in overrides.items():
        below = result.get(name)
        under = below if isinstance(below, Mapping) else {}
        result[name] = merged(under, value) if isinstance(value, Mapping) else value
    return result
