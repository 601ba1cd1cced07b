"""``spec.matrix``: one child object for each combination of parameters, with an output below the sweep's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

from scenewright.api.kinds import MAXIMUM_NAME_LENGTH, spec_model
from scenewright.api.raw import Json, RawJson
from scenewright.planning.documents import kind_of, value_at, with_value
from scenewright.planning.overrides import apply_overrides
from scenewright.planning.problems import Problem, SpecError
from scenewright_stages.pipelines import pipelines

MOST_CHILDREN = 64
_NOT_PARAMETERS = ("metadata", "spec", "output", "matrix", "suspend", "ttlSecondsAfterFinished")


@dataclass(frozen=True)
class Child:
    """One combination: the child's name, its values by parameter, and its whole manifest."""

    name: str
    parameters: Mapping[str, str]
    document: RawJson


def children_of(document: RawJson) -> tuple[Child, ...]:
    """The children in the order of the matrix, the last parameter fastest; none without a matrix.

    Raises:
        SpecError: a parameter that does not exist or cannot vary, or too many combinations.
    """
    parameters: Mapping[str, list[object]] = value_at(document, "spec", "matrix", "parameters") or {}
    place = "spec.matrix.parameters"
    if prod(map(len, parameters.values())) > MOST_CHILDREN:
        raise SpecError([Problem(place, "", f"has more than {MOST_CHILDREN} combinations")])
    fixed = [name for name in parameters if name.split(".")[0] in _NOT_PARAMETERS]
    if fixed:
        raise SpecError([Problem(f"{place}.{fixed[0]}", "", "cannot vary: name a parameter such as execution.seed")])
    if not parameters:
        return ()
    return tuple(
        _child(document, place, dict(zip(parameters, values, strict=True)), position)
        for position, values in enumerate(product(*parameters.values()))
    )


def _child(document: RawJson, place: str, values: Mapping[str, object], position: int) -> Child:
    kind, metadata = kind_of(document), document["metadata"]
    name = f"{metadata['name'][: MAXIMUM_NAME_LENGTH - 3].rstrip('-')}-{position}"
    spec: Json = {key: value for key, value in document["spec"].items() if key not in ("matrix", _NOT_PARAMETERS[-1])}
    spec = with_value(spec, ("output", "uri"), f"{spec['output']['uri'].rstrip('/')}/{position}")
    raw: Json = {**document, "metadata": {**metadata, "name": name}, "spec": spec}
    try:
        assignments = [f"{path}={value}" for path, value in values.items()]
        raw = apply_overrides(raw, assignments, spec_model(kind), tuple(pipelines(kind)))
    except SpecError as error:
        found = [Problem(each.field.replace("--set ", f"{place}."), each.value, each.remedy) for each in error.problems]
        raise SpecError(found) from None
    return Child(name, {path: str(value) for path, value in values.items()}, raw)
