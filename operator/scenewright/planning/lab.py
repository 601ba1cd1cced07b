"""Lab defaults: values from the operator's configuration for whatever an object's spec leaves out.

They have the form of a spec: ``storage``, ``models``, ``scheduling``, ``execution`` and pipeline blocks. A pipeline
block applies to objects that have this block. A value that equals its built-in default counts as not given, since the
API server fills in the schema's defaults.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from scenewright.api.execution import Execution
from scenewright.api.kinds import KINDS
from scenewright.api.raw import Json, RawJson
from scenewright.api.scheduling import Models, Scheduling
from scenewright.api.status import Status
from scenewright.api.storage import Storage
from scenewright.api.template import together
from scenewright.planning.documents import value_at, with_value
from scenewright.planning.problems import Problem, SpecError
from scenewright.planning.validation import block_of, field_of, problems_of
from scenewright_stages.contract.params import BROKEN_RULES
from scenewright_stages.pipelines import pipelines

Spec = RawJson
Path = tuple[str, ...]

COMMON: dict[str, type[BaseModel]] = {
    "storage": Storage,
    "models": Models,
    "scheduling": Scheduling,
    "execution": Execution,
}
_WHOLE = ("storage",)
"""Blocks that are replaced as a whole: a mixture of two would be inconsistent."""
_MERGED = ("template",)
"""Fields in which an object adds to the lab's value instead of replacing it."""
LONGEST_VALUE = 4096
"""Characters of a value as JSON, since the status of each object keeps it."""
_OF_OBJECTS = {"execution": ("retryToken", "planOnly", "stages", "seed")}
"""Fields that belong to single objects and cannot be lab defaults."""


def check_lab_defaults(defaults: Spec, field: str = "defaults") -> None:
    """Validates the lab defaults.

    Raises:
        SpecError: with all unknown blocks, unknown fields and invalid values.
    """
    problems: list[Problem] = []
    models = _models()
    for name, block in defaults.items():
        if name not in models:
            problems.append(Problem(f"{field}.{name}", block, f"no such block; allowed: {', '.join(models)}"))
            continue
        found: list[Problem] = []
        try:
            models[name].model_validate(block, strict=True)
        except ValidationError as error:
            # Missing fields are fine, since objects may set them.
            found = problems_of(error, models[name], f"{field}.{name}", ignored=("missing", BROKEN_RULES))
        problems += found
        for path, value in _leaves(models[name], block, (name,)) if isinstance(block, Mapping) and not found else ():
            if len(json.dumps(value)) > LONGEST_VALUE:
                problems.append(Problem(f"{field}.{'.'.join(path)}", "", f"is longer than {LONGEST_VALUE} characters"))
        for part in _OF_OBJECTS.get(name, ()):
            if isinstance(block, Mapping) and part in block:
                problems.append(Problem(f"{field}.{name}.{part}", block[part], "is for single objects; remove it"))
    if problems:
        raise SpecError(problems)


def with_lab_defaults(document: Spec, defaults: Spec) -> tuple[Json, Json]:
    """The document with the lab defaults filled in, and the values that were filled in, by path below ``spec``."""
    spec: Json = document["spec"]
    models, taken = _models(), Json()
    for name, block in defaults.items():
        is_pipeline = name not in COMMON
        if name not in models or (is_pipeline and spec.get(name) is None):
            continue
        for path, value in _leaves(models[name], block, (name,)):
            if path[-1] in _MERGED:
                spec = with_value(spec, path, together(value, value_at(spec, *path)))
            elif value_at(spec, *path) not in (None, _built_in(models[name], path[1:])):
                continue
            else:
                spec = with_value(spec, path, value)
            taken[".".join(path)] = value
    return {**document, "spec": spec}, taken


def storage_secret(spec: Spec, defaults: Spec) -> str:
    """Name of the Secret with the storage credentials of an object with this spec."""
    own = value_at(spec, "storage")
    given = own if isinstance(own, dict) and any(own.values()) else value_at(defaults, "storage")
    return str(value_at(given, "secretName") or "")


def to_status(taken: RawJson) -> dict[str, str]:
    """Values by path as stored in the status."""
    return {path: json.dumps(value, sort_keys=True) for path, value in taken.items()}


def in_status(status: Status) -> Json:
    """The lab defaults stored in a status, as blocks, without what is not JSON. The inverse of :func:`to_status`."""
    spec: Json = {}
    for path, value in status.effective.defaults.items():
        with suppress(ValueError):
            spec = with_value(spec, path.split("."), json.loads(value))
    return spec


def _models() -> dict[str, type[BaseModel]]:
    blocks = {name: each.params for kind in KINDS for name, each in pipelines(kind).items()}
    return {**COMMON, **blocks}


def _leaves(model: type[BaseModel], block: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    """Paths and values of all leaves. Blocks are descended into; lists and mappings are leaves."""
    if path[-1] in (*_WHOLE, *_MERGED):
        yield path, block
        return
    for alias, value in block.items():
        inner = block_of(_field(model, alias).annotation)
        if inner is not None and isinstance(value, Mapping):
            yield from _leaves(inner, value, (*path, alias))
        else:
            yield (*path, alias), value


def _built_in(model: type[BaseModel], path: Path) -> Any:
    if not path:
        return model().model_dump(mode="json", by_alias=True)
    field = _field(model, path[0])
    inner = block_of(field.annotation)
    if inner is not None and len(path) > 1:
        return _built_in(inner, path[1:])
    default = field.get_default(call_default_factory=True)
    return default.model_dump(mode="json", by_alias=True) if isinstance(default, BaseModel) else default


def _field(model: type[BaseModel], alias: str) -> FieldInfo:
    field = field_of(model, alias)
    if field is None:
        raise KeyError(f"{model.__name__} has no field {alias}")
    return field
