"""Every rule of every block of the API and of the built-in pipelines, broken by the rule's own examples."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from scenewright.api.kinds import KINDS, spec_model
from scenewright_stages.contract.params import Params, Rule
from scenewright_stages.contract.pipeline import Kind
from scenewright_stages.pipelines import pipelines

PLACES = {"input": {"uri": "s3://photos/in"}, "output": {"uri": "s3://scenes/out"}}
REQUIRED: dict[Kind, dict[str, Any]] = {
    "SceneJob": PLACES,
    "DatasetJob": PLACES,
    "TuningRun": {"dataset": {"uri": "s3://sets/pairs"}, "output": {"uri": "s3://models/out"}},
}
Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Block:
    """A block of parameters: where it stands in the spec of a kind, and its model."""

    kind: Kind
    path: Path
    model: type[Params]


@dataclass(frozen=True)
class Breach:
    """A spec that breaks one rule of one block and is right otherwise."""

    block: Block
    rule: Rule
    number: int
    spec: dict[str, Any]

    @property
    def field(self) -> str:
        """Of the manifest: what the user should look at."""
        return dotted(("spec", *self.block.path, *self.rule.field.split(".")))

    def __str__(self) -> str:
        return f"{self.block.kind}-{self.field}-{self.number}"


def right_spec(kind: Kind, pipeline: str = "", **changes: Any) -> dict[str, Any]:
    """The smallest spec of a kind, with the block of one pipeline: the first of the kind unless it is named."""
    installed = pipelines(kind, built_in=True)
    name = pipeline or next(iter(installed), "")
    block = {name: installed[name].sample_blocks()[0]} if name else {}
    return copy.deepcopy({**REQUIRED[kind], **block, **changes})


def blocks() -> list[Block]:
    """Every block of every kind, those of shared fields once for each kind."""
    return [block for kind in KINDS for block in _below(Block(kind, (), spec_model(kind, built_in=True)))]


def breaches() -> list[Breach]:
    """Every example of every rule."""
    return [
        Breach(block, rule, number, _broken_spec(block, rule, example))
        for block in blocks()
        for rule in block.model.rules
        for number, example in enumerate(rule.refuses)
    ]


def dotted(path: Path) -> str:
    """A path as messages have it: ``spec.scheduling.resourceClaims[0].name``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def placed(spec: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """The spec with a value at a path; what is missing on the way is made."""
    spec = copy.deepcopy(spec)
    holder: Any = spec
    for part, following in pairwise(path):
        if isinstance(holder, dict):
            holder.setdefault(part, [{}] if isinstance(following, int) else {})
        holder = holder[part]
    if isinstance(holder, list):
        holder[:] = [value]
    else:
        holder[path[-1]] = value
    return spec


def _below(block: Block) -> Iterator[Block]:
    yield block
    for name, field in block.model.model_fields.items():
        for path, model in _models((*block.path, field.alias or name), field.annotation):
            yield from _below(Block(block.kind, path, model))


def _models(path: Path, annotation: Any) -> Iterator[tuple[Path, type[Params]]]:
    """The blocks that a field can hold: itself, the items of a list, the values of a map."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        assert issubclass(annotation, Params)
        yield path, annotation
        return
    step: Path = {list: (0,), dict: ("any",)}.get(get_origin(annotation), ())
    for inner in get_args(annotation):
        yield from _models((*path, *step), inner)


def _broken_spec(block: Block, rule: Rule, example: Mapping[str, Any]) -> dict[str, Any]:
    """The example as the block; at the top, where a pipeline's block and required fields belong too, beside those."""
    if block.path:
        name = str(block.path[0])
        return placed(right_spec(block.kind, name if name in _names(block.kind) else ""), block.path, dict(example))
    about_pipelines = rule.field in _names(block.kind)
    return {**(REQUIRED[block.kind] if about_pipelines else right_spec(block.kind)), **example}


def _names(kind: Kind) -> set[str]:
    return set(pipelines(kind, built_in=True))
