"""Handles ended objects, which keep their state and go after their TTL, and those that wait for a choice."""

from __future__ import annotations

from datetime import timedelta

from scenewright.api.status import Status
from scenewright.reconcile.cache.observation import ObservedObject
from scenewright.reconcile.decide.actions import DeleteObject
from scenewright.reconcile.decide.context import DecisionContext, PartialDecision, moment_of, state_of, text_of
from scenewright.reconcile.decide.endings import deletions
from scenewright.reconcile.decide.preconditions import own_jobs

ARGO_PREFIX = "argocd.argoproj.io/"
INSTANCE_LABEL = "app.kubernetes.io/instance"
HELM_LABEL = "app.kubernetes.io/managed-by"
FLUX_PREFIXES = ("kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/")


def over(context: DecisionContext, memory: Status) -> PartialDecision:
    """Keeps the final state: lost Jobs, upgrades and edits that leave the work hash alone do not change it."""
    own, others = own_jobs(context.observed.jobs, memory.run, memory.effective.work_hash)
    live = [job for job in own.values() if not job.ended]
    if not memory.finished_at:
        memory = memory.model_copy(update={"finished_at": text_of(context.now)})
    partial = PartialDecision(memory, state_of(memory), tuple(deletions([*others, *live], "the work has ended")))
    lifetime, finished = _lifetime(context.observed.object), moment_of(memory.finished_at)
    if lifetime is None or finished is None or git_owner(context.observed.object):
        return partial
    left = (finished + timedelta(seconds=lifetime) - context.now).total_seconds()
    if left > 0:
        return partial.also(again_after=left)
    return partial.also(DeleteObject(context.observed.object.name, context.observed.object.uid))


def keep_waiting(context: DecisionContext, memory: Status) -> PartialDecision:
    """Keeps the waiting state until a retry uses the choices."""
    live = [job for job in context.observed.jobs if not job.ended]
    return PartialDecision(
        memory, state_of(memory), tuple(deletions(live, "the samples that are left wait for a choice"))
    )


def git_owner(observed: ObservedObject) -> str:
    """The GitOps tool that manages the object, empty for none. It would recreate, and so rerun, a deleted object."""
    marks = [*observed.labels, *observed.annotations]
    if any(mark.startswith(FLUX_PREFIXES) for mark in marks):
        return "Flux"
    if any(mark.startswith(ARGO_PREFIX) for mark in marks):
        return "Argo CD"
    is_helms = observed.labels.get(HELM_LABEL) == "Helm"
    return "Argo CD" if INSTANCE_LABEL in observed.labels and not is_helms else ""


def refuses_expiry(observed: ObservedObject) -> str:
    """Why the object's TTL is ignored; empty if it has none or if the TTL applies."""
    owner = git_owner(observed)
    if _lifetime(observed) is None or not owner:
        return ""
    return f"ttlSecondsAfterFinished is ignored: {owner} would recreate the object, and it would run again"


def _lifetime(observed: ObservedObject) -> int | None:
    seconds = observed.spec.get("ttlSecondsAfterFinished")
    return seconds if isinstance(seconds, int) else None
