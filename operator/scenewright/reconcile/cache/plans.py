"""Plans objects and caches the plans, so that an unchanged object is not planned at each decision."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from scenewright.api.names import API_VERSION
from scenewright.api.raw import Json, RawJson
from scenewright.api.storage import Storage
from scenewright.api.uris import contains, normalised
from scenewright.execution.jobs.workload import quota_queue
from scenewright.planning.plan import Plan, make_plan
from scenewright.planning.problems import ABSENT, Problem, SpecError
from scenewright.reconcile.cache.observation import ObjectKey, ObservedObject, Refusal

_MOST_CACHED = 512
"""Cached plans; each takes about 20 KB."""


class PlanningCache:
    """Plans objects, or returns why it cannot.

    Args:
        environment: extra variables of all Pods; they may contain storage credentials.
        defaults: the lab defaults.
        outputs: prefixes below which the objects of a namespace may write; ``*`` stands for all other namespaces.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        defaults: RawJson | None = None,
        outputs: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._outputs = {name: [*map(normalised, prefixes)] for name, prefixes in (outputs or {}).items()}
        self._defaults: RawJson = dict(defaults or {})
        self._has_storage = "AWS_ACCESS_KEY_ID" in (environment or {})
        # By object, and by whether the plan has today's lab defaults: what the plan was made from, and the plan. The
        # least recently used comes first.
        self._plans: OrderedDict[tuple[ObjectKey, bool], tuple[object, Plan | Refusal]] = OrderedDict()

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

    def _plan_with(self, value: ObservedObject, defaults: RawJson) -> Plan | Refusal:
        place = value.key, defaults is self._defaults
        # The generation tells apart specs that compare equal, such as 1 and true.
        source = value.generation, value.retry_token, value.spec, defaults
        known, work = self._plans.get(place, (None, Refusal(())))
        if known != source:
            try:
                work = make_plan(document_of(value), defaults=defaults)
            except SpecError as error:
                work = Refusal(error.problems)
            self._plans[place] = source, work
        self._plans.move_to_end(place)
        if len(self._plans) > _MOST_CACHED:
            self._plans.popitem(last=False)
        return work

    def _problems(self, plan: Plan) -> Iterator[Problem]:
        """Checks the rules that apply only in a cluster."""
        for path, uri in _local_files(plan.effective_object()["spec"], "spec"):
            yield Problem(path, uri, "a Pod cannot see files of one machine: use s3://bucket/prefix")
        if plan.spec.storage == Storage() and not self._has_storage:
            remedy = "give secretName or serviceAccountName: Pods have no rights at the storage of their own"
            yield Problem("spec.storage", ABSENT, remedy)
        if plan.spec.scheduling.admission == "Object" and not quota_queue(plan):
            remedy = "needs spec.scheduling.queueName: the LocalQueue that admits the object"
            yield Problem("spec.scheduling.admission", "Object", remedy)
        if (template := plan.spec.execution.template) and template.spec is not None:
            volumes = {volume.name for volume in template.spec.volumes}
            mounts = (mount.name for container in template.spec.containers for mount in container.volume_mounts)
            for name in (each for each in mounts if each not in volumes):
                place = "spec.execution.template.spec.containers[0].volumeMounts"
                yield Problem(place, name, "no such volume: add it to spec.execution.template.spec.volumes")
        allowed = self._outputs.get(plan.namespace, self._outputs.get("*", []))
        uri = plan.spec.output.uri
        if self._outputs and not any(contains(prefix, normalised(uri)) for prefix in allowed):
            below = f"may write below {', '.join(allowed)} only" if allowed else "may write nowhere"
            yield Problem(
                "spec.output.uri", uri, f"the namespace {plan.namespace} {below}; the lab's administrator sets this"
            )


def document_of(value: ObservedObject) -> Json:
    """The object's manifest with the effective retry token."""
    spec: Json = dict(value.spec)
    given = spec.get("execution") or {}
    if value.retry_token and isinstance(given, dict) and isinstance(given.get("retryToken", ""), str):
        spec["execution"] = {**given, "retryToken": value.retry_token}
    metadata = {"name": value.name, "namespace": value.namespace}
    return {"apiVersion": API_VERSION, "kind": value.kind, "metadata": metadata, "spec": spec}


def _local_files(node: object, path: str) -> Iterator[tuple[str, str]]:
    """Field paths and values of all ``file://`` URIs."""
    if isinstance(node, str) and node.startswith("file://"):
        yield path, node
    elif isinstance(node, dict):
        for name, child in node.items():
            yield from _local_files(child, f"{path}.{name}")
    elif isinstance(node, list):
        for position, child in enumerate(node):
            yield from _local_files(child, f"{path}[{position}]")
