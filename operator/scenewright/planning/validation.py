"""Validates a raw document: returns a typed object, or raises with all problems at once."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from scenewright.api.kinds import Manifest
from scenewright.api.patterns import MEANINGS
from scenewright.api.raw import RawJson
from scenewright.planning.documents import value_at
from scenewright.planning.problems import ABSENT, Problem, SpecError, shown, suggestion
from scenewright_stages.contract.params import BROKEN_RULES
from scenewright_stages.pipelines import pipelines

Context = RawJson

_REMEDIES: dict[str, Callable[[Context], str]] = {
    "greater_than": lambda ctx: f"must be > {_number(ctx['gt'])}",
    "greater_than_equal": lambda ctx: f"must be >= {_number(ctx['ge'])}",
    "less_than": lambda ctx: f"must be < {_number(ctx['lt'])}",
    "less_than_equal": lambda ctx: f"must be <= {_number(ctx['le'])}",
    "multiple_of": lambda ctx: f"must be a multiple of {_number(ctx['multiple_of'])}",
    "finite_number": lambda ctx: "must be a finite number",
    "string_pattern_mismatch": lambda ctx: (
        f"must be {MEANINGS.get(ctx['pattern'], 'text that matches ' + ctx['pattern'])}"
    ),
    "string_too_long": lambda ctx: f"must have at most {ctx['max_length']} characters",
    "string_too_short": lambda ctx: f"must have at least {ctx['min_length']} characters",
    "too_long": lambda ctx: f"must have at most {ctx['max_length']} entries",
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), lambda ctx: "must be an integer"),
    **dict.fromkeys(("float_type", "float_parsing"), lambda ctx: "must be a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), lambda ctx: "must be true or false"),
    "string_type": lambda ctx: "must be text; put it in quotes",
    "list_type": lambda ctx: "must be a list",
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), lambda ctx: "must be an object"),
}


def validated(document: RawJson, manifest_model: type[Manifest[Any]]) -> Manifest[Any]:
    """The typed object of a raw document.

    Strict about types, like the API server: ``"5"`` is not a number and ``1`` is not text.

    Raises:
        SpecError: with all problems of the document.
    """
    try:
        return manifest_model.model_validate(document, strict=True)
    except ValidationError as error:
        raise SpecError(problems_of(error, manifest_model)) from None


def problems_of(
    error: ValidationError, model: type[BaseModel], prefix: str = "", ignored: Collection[str] = ()
) -> list[Problem]:
    """The problems of a pydantic error, one per field: the errors of a union's members are merged.

    Errors of the `ignored` pydantic types are skipped.
    """
    merged: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        if detail["type"] in ignored:
            continue
        for problem in _problems(detail, model, prefix):
            other = merged.get(problem.field)
            if other is None:
                merged[problem.field] = problem
            elif problem.remedy not in other.remedy:
                merged[problem.field] = Problem(problem.field, other.value, f"{other.remedy}, or {problem.remedy}")
    return list(merged.values())


def _problems(detail: ErrorDetails, model: type[BaseModel], prefix: str) -> list[Problem]:
    path, owner = _field_path(detail["loc"], model)
    field = _joined(prefix, path)
    context: Context = detail.get("ctx", {})
    if detail["type"] == BROKEN_RULES:
        return [
            Problem(_joined(field, name), value_at(detail["input"], *name.split("."), missing=ABSENT), message)
            for name, message in context["broken"]
        ]
    if detail["type"] == "extra_forbidden":
        return [Problem(field, ABSENT, no_such_field(path.rpartition(".")[2], owner))]
    if detail["type"] in ("literal_error", "enum"):
        allowed = [choice.strip().strip("'") for choice in context["expected"].replace(" or ", ", ").split(",")]
        is_text = isinstance(detail["input"], str)
        remedy = suggestion(detail["input"], allowed) if is_text else f"allowed: {', '.join(allowed)}"
        return [Problem(field, detail["input"], remedy)]
    if detail["type"] == "value_error":
        # The message of one of our own validators, without pydantic's prefix.
        return [Problem(field, ABSENT, detail["msg"].removeprefix("Value error, "))]
    if detail["type"] == "missing":
        return [Problem(field, ABSENT, "is required")]
    remedy_of = _REMEDIES.get(detail["type"])
    return [Problem(field, detail["input"], remedy_of(context) if remedy_of else detail["msg"])]


def no_such_field(name: str, block: type[BaseModel] | None) -> str:
    """The remedy for a field that a block does not have: the kind of a pipeline's block, else near matches."""
    if name in (known := pipelines()):
        return f"no such field; {name} is a block of spec in a {known[name].kind}"
    fields = [field.alias or key for key, field in block.model_fields.items()] if block else []
    return f"no such field; {suggestion(name, sorted(fields))}"


def _field_path(loc: tuple[int | str, ...], model: type[BaseModel]) -> tuple[str, type[BaseModel] | None]:
    """The field path of a pydantic location, without its markers for unions and keys, and the block of the field."""
    path = ""
    annotation: Any = model
    owner: type[BaseModel] | None = model
    for part in loc:
        block = block_of(annotation)
        if part == "[key]":
            continue
        if isinstance(part, int):
            path, annotation = f"{path}[{part}]", _item_of(annotation)
        elif block is not None:
            field = field_of(block, part)
            owner, path, annotation = block, _joined(path, part), field.annotation if field else None
        elif get_origin(annotation) is dict:
            path, annotation, owner = _joined(path, part), _item_of(annotation), None
    return path, owner


def field_of(block: type[BaseModel], alias: str) -> FieldInfo | None:
    """The field with that alias or name; None if the block has no such field."""
    return next((field for name, field in block.model_fields.items() if alias in (field.alias, name)), None)


def block_of(annotation: object) -> type[BaseModel] | None:
    """The model of a field that is a block; None for scalars, lists and mappings."""
    candidates = [annotation, *([] if get_origin(annotation) in (dict, list, tuple) else get_args(annotation))]
    return next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), None)


def _item_of(annotation: Any) -> Any:
    arguments = get_args(annotation)
    return arguments[-1] if arguments else None


def _joined(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _number(value: object) -> str:
    return shown(int(value) if isinstance(value, float) and value.is_integer() else value)
