"""``--set path=value``: changes a raw document. YAML types the values; a misspelt path gets suggestions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from scenewright.api.raw import Json
from scenewright.planning.documents import with_value
from scenewright.planning.problems import ABSENT, Problem, SpecError
from scenewright.planning.validation import block_of, field_of, no_such_field

_ROOTS = ("spec", "metadata")
_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")


def apply_overrides(
    document: Json, assignments: Sequence[str], spec_model: type[BaseModel], pipelines: Sequence[str]
) -> Json:
    """The document with every ``path=value`` applied, in order.

    A path starts at the document's root (``spec.vistadream.coarse.frames``), at ``spec`` (``execution.seed``) or at
    the pipeline block (``coarse.frames``).

    Raises:
        SpecError: no ``=``, invalid YAML, or a path that does not exist.
    """
    for assignment in assignments:
        path, value = _parse(assignment)
        document = with_value(document, _resolve(path, document, spec_model, pipelines), value)
    return document


def _parse(assignment: str) -> tuple[list[str], Any]:
    path, separator, text = assignment.partition("=")
    # ``max_resolution`` becomes ``maxResolution``; dashes in stage names stay.
    parts = [re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), part) for part in path.strip().split(".")]
    if not separator or not all(parts):
        raise SpecError([Problem("--set", assignment, "must be path=value, such as coarse.frames=5")])
    try:
        # YAML 1.1 takes 1e-4 for a text, since it has no point.
        return parts, float(text) if _EXPONENT.fullmatch(text.strip()) else yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SpecError([Problem(f"--set {path}", text, "the value is not valid YAML; quote it")]) from error


def _resolve(path: list[str], document: Json, spec_model: type[BaseModel], pipelines: Sequence[str]) -> list[str]:
    """The path from the document's root; raises SpecError with suggestions if there is no such field."""
    spec = document.get("spec")
    block = next((name for name in pipelines if isinstance(spec, dict) and name in spec), None)
    inside = [["spec", *path], ["spec", block, *path]] if block else [["spec", *path]]
    problems = []
    for candidate in [path] if path[0] in _ROOTS else inside:
        problem = _unknown(candidate, spec_model)
        if problem is None:
            return candidate
        problems.append(problem)
    raise SpecError([max(problems, key=lambda problem: ("did you mean" in problem.remedy, problem.field.count(".")))])


def _unknown(path: list[str], spec_model: type[BaseModel]) -> Problem | None:
    """The problem of the first unknown part of the path; None if the path exists."""
    if path[0] == "metadata":
        return None
    annotation: Any = spec_model
    for position, part in enumerate(path[1:], start=2):
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
            continue
        block = block_of(annotation)
        field = field_of(block, part) if block else None
        if field is None:
            return Problem(f"--set {'.'.join(path[:position])}", ABSENT, no_such_field(part, block))
        annotation = field.annotation
    return None
