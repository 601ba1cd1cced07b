"""Plans by uid, generation and retry token, so that an object is planned once and not at every step."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from scenewright.api.kinds import API_VERSION
from scenewright.planning.plan import Plan, make_plan
from scenewright.planning.problems import SpecError
from scenewright.reconcile.decide.memory import retry_token
from scenewright.reconcile.observation import ObservedObject, Refusal

_CAPACITY = 512
"""A plan takes about 20 KB."""

_Key = tuple[str, int, str]


class PlanningCache:
    """Gives the plan of an object, or why there is none."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._plans: OrderedDict[_Key, Plan | Refusal] = OrderedDict()

    def plan(self, value: ObservedObject) -> Plan | Refusal:
        """The plan of the spec, with the retry token in effect."""
        key = (value.uid, value.generation, retry_token(value))
        found = self._plans.get(key)
        if found is None:
            found = self._plans[key] = _planned(value)
            if len(self._plans) > self._capacity:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return found


def document_of(value: ObservedObject) -> dict[str, Any]:
    """The object as its manifest would be, with the effective retry token."""
    spec: dict[str, Any] = dict(value.spec)
    token = retry_token(value)
    if token:
        spec["execution"] = {**(spec.get("execution") or {}), "retryToken": token}
    metadata = {"name": value.name, "namespace": value.namespace}
    return {"apiVersion": API_VERSION, "kind": value.kind, "metadata": metadata, "spec": spec}


def _planned(value: ObservedObject) -> Plan | Refusal:
    try:
        return make_plan(document_of(value))
    except SpecError as error:
        return Refusal(error.problems)
