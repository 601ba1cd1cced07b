"""Forms drawn from the schema of the CRDs, and the manifests that they make.

Each scalar field of a pipeline's block becomes an input with its description, range and default. Fields that are left
as they are stay out of the manifest, so that a form never freezes a default.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from scenewright.api import patterns
from scenewright.api.names import API_VERSION
from scenewright.api.raw import Json, RawJson
from scenewright.api.schema import structural_schema
from scenewright.planning.documents import parse_documents, value_at, with_value
from scenewright.planning.plan import make_plan
from scenewright.planning.problems import SpecError
from scenewright_lab.sources.interface import Refused
from scenewright_stages.contract.keys import leaves
from scenewright_stages.pipelines import pipelines

PREFIX = "field."
_SCALARS = ("string", "integer", "number", "boolean")
MOST_YAML = 64_000


@dataclass(frozen=True)
class Example:
    """A starting point: a pipeline with a block that works without weights."""

    name: str
    title: str
    text: str
    pipeline: str
    block: Json

    @property
    def kind(self) -> str:
        """The kind of object that it makes."""
        return pipelines()[self.pipeline].kind

    @property
    def accept(self) -> str:
        """Endings of the files that its pipeline takes, as a file input wants them."""
        takes = pipelines()[self.pipeline].input
        return ",".join((*takes.suffixes, *takes.lone))


@cache
def examples() -> Mapping[str, Example]:
    """The examples by name, as far as their pipelines are installed."""
    raw = yaml.safe_load((Path(__file__).parent / "examples.yaml").read_text(encoding="utf-8"))
    return {each["name"]: Example(**each) for each in raw if each["pipeline"] in pipelines()}


@dataclass(frozen=True)
class Field:
    """One input of a form.

    Attributes:
        path: below the pipeline's block.
        given: the example's value as text; empty for the default.
        default: as text.
        choices: of an enumeration or a boolean.
        step: of a number: ``1`` or ``any``.
    """

    path: str
    kind: str
    text: str
    given: str = ""
    default: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    step: str = "any"

    @property
    def label(self) -> str:
        """Its last name, with spaces: ``iterations per frame``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.path.rpartition(".")[2]).lower()


@dataclass(frozen=True)
class Group:
    """The fields of one block."""

    title: str
    fields: list[Field] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether the example sets one of them."""
        return any(each.given for each in self.fields)


@cache
def _schema(pipeline: str) -> Json:
    return structural_schema(pipelines()[pipeline].params)


def groups(example: Example, given: Mapping[str, str]) -> list[Group]:
    """The form of an example, filled in with what the person has given so far."""
    preset = {path: _text(value) for path, value in leaves(example.block).items()}
    found: dict[str, Group] = {}
    for made in _fields(_schema(example.pipeline), "", preset, given):
        title = made.path.rpartition(".")[0]
        found.setdefault(title, Group(title or "General")).fields.append(made)
    return sorted(found.values(), key=lambda each: (each.title != "General", not each.changed))


def _fields(
    schema: RawJson, path: str, preset: Mapping[str, str], given: Mapping[str, str], default: Any = None
) -> Iterator[Field]:
    for name, node in (schema.get("properties") or {}).items():
        here = f"{path}.{name}" if path else name
        standard = node.get("default", default.get(name) if isinstance(default, dict) else None)
        if node.get("type") == "object" and "properties" in node:
            yield from _fields(node, here, preset, given, standard)
        elif node.get("type") in _SCALARS:
            choices = ("true", "false") if node["type"] == "boolean" else tuple(map(str, node.get("enum") or ()))
            yield Field(
                path=here,
                kind=node["type"],
                text=node.get("description", ""),
                given=given.get(PREFIX + here, preset.get(here, "")),
                default=_text(standard),
                choices=tuple(each for each in choices if each),
                minimum=node.get("minimum"),
                maximum=node.get("maximum"),
                step="1" if node["type"] == "integer" else "any",
            )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def block(example: Example, given: Mapping[str, str]) -> Json:
    """The pipeline's block: what the form says, and nothing that it leaves at its default."""
    scalars = {each.path: each for group in groups(example, given) for each in group.fields}
    kept = {path: value for path, value in leaves(example.block).items() if path not in scalars}
    found: Json = {}
    for path, value in {**kept, **{path: _value(each) for path, each in scalars.items() if each.given}}.items():
        found = with_value(found, path.split("."), value)
    return found


def _value(filled: Field) -> Any:
    """The typed value of a field; text that is no number stays text, and validation says so."""
    if filled.kind == "boolean":
        return filled.given == "true"
    try:
        return {"integer": int, "number": float}.get(filled.kind, str)(filled.given)
    except ValueError:
        return filled.given


def manifest(
    example: Example, given: Mapping[str, str], name: str, input_uri: str, output_uri: str, spec: RawJson
) -> Json:
    """The whole object; `spec` has the fields that all objects get here."""
    if not re.fullmatch(patterns.OBJECT_NAME, name) or len(name) > 63:
        raise Refused("The name needs lower-case letters, digits and dashes, and begins with a letter or digit.", 422)
    namespace = {"namespace": given["namespace"]} if given.get("namespace") else {}
    places = {"input": {"uri": input_uri}, "output": {"uri": output_uri}}
    whole = {**places, **spec, example.pipeline: block(example, given)}
    return {"apiVersion": API_VERSION, "kind": example.kind, "metadata": {"name": name, **namespace}, "spec": whole}


def as_yaml(document: RawJson) -> str:
    """A manifest as people write it."""
    return yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=100)


def from_yaml(text: str) -> Json:
    """The one object of a text.

    Raises:
        Refused: it holds none, or several, or is too long.
    """
    if len(text) > MOST_YAML:
        raise Refused("The manifest is too long.", 422)
    try:
        found = parse_documents(text)
    except SpecError as error:
        raise Refused("; ".join(map(str, error.problems)), 422) from None
    if len(found) != 1:
        raise Refused("Start one object at a time.", 422)
    return found[0]


def problems(document: Json) -> Sequence[str]:
    """What is wrong with a manifest, each with its field; empty if it can run."""
    try:
        make_plan(document)
    except SpecError as error:
        return [str(each) for each in error.problems]
    return []


def name_of(document: RawJson) -> str:
    """The name in a manifest; empty if it has none."""
    found = value_at(document, "metadata", "name")
    return found if isinstance(found, str) else ""
