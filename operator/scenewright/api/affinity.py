"""Finds misspelt fields in a Pod's affinity, which the CRD takes as it is given.

The API server would refuse the Job that has it, but only when the stage begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

REQUIRED, PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
_LEAF: dict[str, object] = {}
_EXPRESSIONS = [{"key": _LEAF, "operator": _LEAF, "values": _LEAF}]
_SELECTOR = {"matchLabels": _LEAF, "matchExpressions": _EXPRESSIONS}
_NODE_TERM = {"matchExpressions": _EXPRESSIONS, "matchFields": _EXPRESSIONS}
_POD_TERM = {
    "labelSelector": _SELECTOR,
    "namespaceSelector": _SELECTOR,
    **dict.fromkeys(("namespaces", "topologyKey", "matchLabelKeys", "mismatchLabelKeys"), _LEAF),
}
_POD_AFFINITY = {REQUIRED: [_POD_TERM], PREFERRED: [{"weight": _LEAF, "podAffinityTerm": _POD_TERM}]}
_AFFINITY = {
    "nodeAffinity": {
        REQUIRED: {"nodeSelectorTerms": [_NODE_TERM]},
        PREFERRED: [{"weight": _LEAF, "preference": _NODE_TERM}],
    },
    "podAffinity": _POD_AFFINITY,
    "podAntiAffinity": _POD_AFFINITY,
}
"""Fields of an affinity by name; a list holds the form of its items, and an empty mapping stands for any value."""


def affinity_problem(affinity: object) -> str:
    """The first thing in an affinity that Kubernetes does not know, with its path; empty if there is none."""
    return _problem(affinity, _AFFINITY, "")


def _problem(value: object, form: object, path: str) -> str:
    if form is _LEAF:
        is_operator = path.endswith(".operator")
        return f"{path}: {_hint(str(value), _OPERATORS)}" if is_operator and value not in _OPERATORS else ""
    kind = list if isinstance(form, list) else dict
    if not isinstance(value, kind):
        return f"{path or 'it'} must be {'a list' if kind is list else 'an object'}"
    return next(filter(None, _problems(value, form, path)), "")


def _problems(value: object, form: object, path: str) -> Iterator[str]:
    if isinstance(value, list) and isinstance(form, list):
        for position, item in enumerate(value):
            yield _problem(item, form[0], f"{path}[{position}]")
    elif isinstance(value, dict) and isinstance(form, dict):
        for name, child in value.items():
            here = f"{path}.{name}".lstrip(".")
            if name in form:
                yield _problem(child, form[name], here)
            else:
                yield f"{here}: no such field; {_hint(str(name), form)}"


def _hint(word: str, allowed: Iterable[str]) -> str:
    names = list(allowed)
    close = get_close_matches(word, names, n=1, cutoff=0.6)
    return f"{f'did you mean {close[0]!r}? ' if close else ''}allowed: {', '.join(names)}"
