"""Plans objects and caches the plans by manifest, so that an unchanged object is not planned at each decision."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from scenewright.api.names import API_VERSION
from scenewright.api.storage import Storage
from scenewright.planning.plan import Plan, make_plan
from scenewright.planning.problems import ABSENT, Problem, SpecError
from scenewright.reconcile.cache.observation import ObservedObject, Refusal

_KEPT = 512
"""Cached plans; each takes about 20 KB."""


class PlanningCache:
    """Plans objects, or returns why it cannot.

    Args:
        environment: extra variables of all Pods; they may contain storage credentials.
        defaults: the lab defaults.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, defaults: Mapping[str, Any] | None = None) -> None:
        self._defaults = dict(defaults or {})
        self._has_storage = "AWS_ACCESS_KEY_ID" in (environment or {})
        self._made = lru_cache(_KEPT)(_made)

    def plan(self, value: ObservedObject) -> Plan | Refusal:
        """The plan of the spec with the effective retry token.

        A generation keeps the work hash with which it began, and the rules for clusters apply only to generations that
        have not begun. So an upgrade that changes defaults or adds rules restarts nothing.
        """
        work, begun = self._planned(value), value.begun_work
        if begun and isinstance(work, Plan):
            return work if work.work_hash == begun else replace(work, work_hash=begun)
        problems = tuple(self._problems(work)) if isinstance(work, Plan) else ()
        return Refusal(problems) if problems else work

    def _planned(self, value: ObservedObject) -> Plan | Refusal:
        """Plans with today's lab defaults, or for work that has begun with those it began with."""
        kept = value.recorded_defaults
        if kept is not None and kept != self._defaults:
            found = self._plan_with(value, kept)
            if value.is_current or (isinstance(found, Plan) and found.work_hash == value.recorded_work):
                return found
        return self._plan_with(value, self._defaults)

    def _plan_with(self, value: ObservedObject, defaults: Mapping[str, Any]) -> Plan | Refusal:
        return self._made(json.dumps(document_of(value)), json.dumps(defaults))

    def _problems(self, plan: Plan) -> Iterator[Problem]:
        """Checks the rules that apply only in a cluster."""
        for path, uri in _local_files(plan.effective_object()["spec"], "spec"):
            yield Problem(path, uri, "a Pod cannot see files of one machine: use s3://bucket/prefix")
        if plan.spec.storage == Storage() and not self._has_storage:
            remedy = "give secretName or serviceAccountName: Pods have no rights at the storage of their own"
            yield Problem("spec.storage", ABSENT, remedy)


def document_of(value: ObservedObject) -> dict[str, Any]:
    """The object's manifest with the effective retry token."""
    spec: dict[str, Any] = dict(value.spec)
    if value.retry_token:
        spec["execution"] = {**(spec.get("execution") or {}), "retryToken": value.retry_token}
    metadata = {"name": value.name, "namespace": value.namespace}
    return {"apiVersion": API_VERSION, "kind": value.kind, "metadata": metadata, "spec": spec}


def _made(document: str, defaults: str) -> Plan | Refusal:
    """Plans a manifest. Both arguments are JSON, so that they can be cache keys."""
    try:
        return make_plan(json.loads(document), defaults=json.loads(defaults))
    except SpecError as error:
        return Refusal(error.problems)


def _local_files(node: Any, path: str) -> Iterator[tuple[str, str]]:
    """Field paths and values of all ``file://`` URIs."""
    if isinstance(node, str) and node.startswith("file://"):
        yield path, node
    elif isinstance(node, dict):
        for name, child in node.items():
            yield from _local_files(child, f"{path}.{name}")
    elif isinstance(node, list):
        for position, child in enumerate(node):
            yield from _local_files(child, f"{path}[{position}]")
