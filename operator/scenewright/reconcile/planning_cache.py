"""Plans of objects, made once for each generation and retry token and not at every step."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from scenewright.api.kinds import API_VERSION
from scenewright.api.storage import Storage
from scenewright.planning.plan import Plan, make_plan
from scenewright.planning.problems import ABSENT, Problem, SpecError
from scenewright.reconcile.decide.memory import begun_work, recorded_defaults, retry_token
from scenewright.reconcile.observation import ObservedObject, Refusal
from scenewright_stages.contract.keys import short_hash

_CAPACITY = 512
"""A plan takes about 20 KB."""

_Key = tuple[str, int, str, str]
_Planned = tuple[Mapping[str, Any], Plan | Refusal, tuple[Problem, ...]]
"""A spec, its plan, and the reasons why a cluster cannot begin it."""


class PlanningCache:
    """Plans objects, or says why it cannot.

    Args:
        environment: further variables of all Pods; they may hold the keys of a storage.
        defaults: of the lab, for what objects do not say.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        defaults: Mapping[str, Any] | None = None,
        capacity: int = _CAPACITY,
    ) -> None:
        self._defaults = dict(defaults or {})
        self._has_storage = "AWS_ACCESS_KEY_ID" in (environment or {})
        self._capacity = capacity
        self._plans: OrderedDict[_Key, _Planned] = OrderedDict()

    def plan(self, value: ObservedObject) -> Plan | Refusal:
        """The plan of the spec, with the retry token in effect.

        A generation keeps the work hash under which it began, and rules for clusters apply to new generations only.
        So an upgrade that changes defaults or adds rules restarts nothing.
        """
        (_, work, problems), begun = self._planned(value), begun_work(value)
        if begun and isinstance(work, Plan):
            return work if work.work_hash == begun else replace(work, work_hash=begun)
        return Refusal(problems) if problems else work

    def _planned(self, value: ObservedObject) -> _Planned:
        """With the lab's defaults of today, but for work that has begun: that keeps those it began with."""
        kept = recorded_defaults(value)
        if kept is not None and kept != self._defaults:
            found = self._made(value, kept)
            is_known = value.status.get("observedGeneration") == value.generation
            if is_known or (isinstance(found[1], Plan) and found[1].work_hash == value.status["effective"]["workHash"]):
                return found
        return self._made(value, self._defaults)

    def _made(self, value: ObservedObject, defaults: Mapping[str, Any]) -> _Planned:
        key = (value.uid, value.generation, retry_token(value), short_hash(defaults))
        found = self._plans.get(key)
        # After a restore of etcd the same generation may be another spec.
        if found is None or found[0] != value.spec:
            work = _plan_of(value, defaults)
            problems = tuple(self._problems(work)) if isinstance(work, Plan) else ()
            found = self._plans[key] = (value.spec, work, problems)
            if len(self._plans) > self._capacity:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return found

    def _problems(self, plan: Plan) -> Iterator[Problem]:
        """Rules that apply in a cluster only."""
        for path, uri in _local_files(plan.effective_object()["spec"], "spec"):
            yield Problem(path, uri, "a Pod cannot see files of one machine: use s3://bucket/prefix")
        if plan.spec.storage == Storage() and not self._has_storage:
            remedy = "give secretName or serviceAccountName: Pods have no rights at the storage of their own"
            yield Problem("spec.storage", ABSENT, remedy)


def document_of(value: ObservedObject) -> dict[str, Any]:
    """The object as its manifest would be, with the effective retry token."""
    spec: dict[str, Any] = dict(value.spec)
    token = retry_token(value)
    if token:
        spec["execution"] = {**(spec.get("execution") or {}), "retryToken": token}
    metadata = {"name": value.name, "namespace": value.namespace}
    return {"apiVersion": API_VERSION, "kind": value.kind, "metadata": metadata, "spec": spec}


def _plan_of(value: ObservedObject, defaults: Mapping[str, Any]) -> Plan | Refusal:
    try:
        return make_plan(document_of(value), defaults=defaults)
    except SpecError as error:
        return Refusal(error.problems)


def _local_files(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """Paths and values of all URIs of local files."""
    if isinstance(node, str) and node.startswith("file://"):
        yield path, node
    elif isinstance(node, dict):
        for name, child in node.items():
            yield from _local_files(child, f"{path}.{name}")
    elif isinstance(node, list):
        for position, child in enumerate(node):
            yield from _local_files(child, f"{path}[{position}]")
