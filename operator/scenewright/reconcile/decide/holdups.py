"""What holds a Job up, and two causes outside of its Pods: a queue that has not admitted it, and a lost node.

A Pod on a lost node is let go by nobody but this operator, and its Job would wait for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from scenewright.reconcile.act.actions import Action, Inspect, ReleasePod
from scenewright.reconcile.cache.observation import Inspection, ObservedJob, ObservedPod
from scenewright.reconcile.decide.context import DecisionContext, Run, seconds_between, soonest


@dataclass(frozen=True)
class Finding:
    """One thing that holds a Job up, or may do so later.

    Attributes:
        reason, message: of the condition; no reason while it is too early for one.
        fatal: the run fails for it.
        ask: what has to be known before more can be said.
        again_after: seconds until it has to be looked at again.
        tells_news: its message is worth telling anew whenever it changes.
    """

    reason: str = ""
    message: str = ""
    fatal: bool = False
    ask: Inspection | None = None
    again_after: float | None = None
    tells_news: bool = False

    def no_later_than(self, again_after: float | None) -> Finding:
        """The same with an earlier look."""
        return replace(self, again_after=soonest(self.again_after, again_after))


NOTHING = Finding()


PENDING = "QueuePending"
NO_QUEUE = "QueueControllerMissing"


def queued(run: Run, job: ObservedJob, started: bool) -> Finding:
    """A suspended Job. Time in a queue never fails a run; a queue that does not exist does."""
    settings, before, waits = run.settings, run.context.state_before, f"waits in the queue {job.queue}"
    waited = seconds_between(job.created_at, run.now)
    if waited < settings.queue_pending:
        return Finding(again_after=settings.queue_pending - waited)
    if not job.queue:
        return Finding("JobSuspended", f"somebody suspended the Job {job.name}; resume it, or delete it")
    inspection = Inspection("workload", job.name)
    answer = run.context.answer(inspection, settings.queue_answer_age)
    if answer is None or (answer.holds is False and seconds_between(answer.at, run.now) > settings.answer_age):
        known = before.reason in (PENDING, NO_QUEUE)
        return Finding(before.reason if known else PENDING, before.message if known else waits, ask=inspection)
    if answer.holds is not False or waited < settings.queue_controller:
        again_after = settings.queue_answer_age if answer.holds else settings.answer_age
        told = f"{waits}; why {answer.message}" if answer.holds is None else answer.holds and answer.message
        return Finding(PENDING, told or waits, again_after=again_after, tells_news=True)
    text = answer.message or f"no Workload was made for the queue {job.queue}"
    text = f"{text}: is Kueue installed, and does it serve this namespace?"
    was_so = before.reason == NO_QUEUE
    is_late = waited >= run.plan.spec.execution.start_deadline_seconds
    return Finding(NO_QUEUE, text, fatal=was_so and is_late and not started, again_after=settings.answer_age)


def releases(context: DecisionContext) -> tuple[list[Action], float | None]:
    """Pods to release, nodes to ask about, and seconds until the next look.

    A Pod that terminates beyond its grace period plus a minute is released when its node is not Ready or gone:
    deleting it by force does not help, since the Job controller's finalizer waits for its phase.
    """
    actions: list[Action] = []
    again_after: float | None = None
    for pod in context.observed.pods:
        if pod.deleted_at is None or not pod.node or pod.phase not in ("Pending", "Running", "Unknown"):
            continue
        overdue = (context.now - pod.deleted_at).total_seconds() - context.settings.node_loss
        if overdue < 0:
            again_after = soonest(again_after, -overdue)
            continue
        action = _overdue(context, pod)
        again_after = soonest(again_after, context.settings.node_loss)
        if action is not None and action not in actions:
            actions.append(action)
    asks = any(isinstance(action, Inspect) for action in actions)
    return actions, soonest(again_after, context.settings.answer_soon if asks else None)


def _overdue(context: DecisionContext, pod: ObservedPod) -> Action | None:
    """Releases a Pod, or asks about its node; leaves the Pod alone if the node is well or unknown."""
    inspection = Inspection("node", pod.node)
    answer = context.answer(inspection)
    if answer is None:
        return Inspect(inspection)
    return ReleasePod(pod.name, pod.uid) if answer.holds is False else None
