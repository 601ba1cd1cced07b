"""After the end: nothing is started any more, and the object goes when its time to live has passed."""

from __future__ import annotations

from datetime import timedelta

from scenewright.api.status import Status
from scenewright.reconcile.actions import DeleteObject
from scenewright.reconcile.decide.gates import own_jobs
from scenewright.reconcile.decide.restarting import deletions
from scenewright.reconcile.decide.times import moment_of, text_of
from scenewright.reconcile.decide.turns import Situation, Turn, standing_of
from scenewright.reconcile.observation import ObservedObject
from scenewright_stages.contract.reports import AWAITING

ARGO_PREFIX = "argocd.argoproj.io/"
INSTANCE_LABEL = "app.kubernetes.io/instance"
HELM_LABEL = "app.kubernetes.io/managed-by"
FLUX_PREFIXES = ("kustomize.toolkit.fluxcd.io/", "helm.toolkit.fluxcd.io/")


def over(situation: Situation, memory: Status) -> Turn:
    """The end is sticky: vanished Jobs, edits that are not work, and upgrades do not change it."""
    own, others = own_jobs(situation.observed.jobs, memory.run, memory.effective.work_hash)
    live = [job for job in own.values() if not job.ended]
    if not memory.finished_at:
        memory = memory.model_copy(update={"finished_at": text_of(situation.now)})
    turn = Turn(memory, standing_of(memory), tuple(deletions([*others, *live], "the work has ended")))
    left = _seconds_to_live(situation, memory)
    if left is None:
        return turn
    if left > 0:
        return turn.also(again_after=left)
    return turn.also(DeleteObject(situation.observed.object.uid))


def awaits_choice(memory: Status) -> bool:
    """Whether all that could be done without a person's choice is done."""
    standing = standing_of(memory)
    return (standing.phase, standing.reason) == ("Waiting", AWAITING)


def at_rest(situation: Situation, memory: Status) -> Turn:
    """Nothing runs until a retry takes the choices up."""
    live = [job for job in situation.observed.jobs if not job.ended]
    return Turn(memory, standing_of(memory), tuple(deletions(live, "the samples that are left wait for a choice")))


def git_owner(observed: ObservedObject) -> str:
    """Which GitOps tool made the object, empty for none: what it deletes, that tool would make and run again."""
    marks = [*observed.labels, *observed.annotations]
    if any(mark.startswith(FLUX_PREFIXES) for mark in marks):
        return "Flux"
    if any(mark.startswith(ARGO_PREFIX) for mark in marks):
        return "Argo CD"
    is_helms = observed.labels.get(HELM_LABEL) == "Helm"
    return "Argo CD" if INSTANCE_LABEL in observed.labels and not is_helms else ""


def refuses_expiry(observed: ObservedObject) -> str:
    """Why the object is kept although it has a time to live, empty when it has none or goes."""
    owner = git_owner(observed)
    if _lifetime(observed) is None or not owner:
        return ""
    return f"ttlSecondsAfterFinished is ignored: {owner} would make the object again, and it would run again"


def _lifetime(observed: ObservedObject) -> int | None:
    seconds: int | None = observed.spec.get("ttlSecondsAfterFinished")
    return seconds


def _seconds_to_live(situation: Situation, memory: Status) -> float | None:
    lifetime = _lifetime(situation.observed.object)
    finished = moment_of(memory.finished_at)
    if lifetime is None or finished is None or git_owner(situation.observed.object):
        return None
    left = (finished + timedelta(seconds=lifetime) - situation.now).total_seconds()
    return max(0.0, left)
