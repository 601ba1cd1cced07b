"""Causes of delay outside a Job's Pods: a queue that has not admitted the Job, and a lost node."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scenewright.reconcile.cache.observation import Inspection, ObservedJob
from scenewright.reconcile.decide.actions import Action, Inspect, ReleasePod
from scenewright.reconcile.decide.context import DecisionContext, Run, earliest, seconds_between


@dataclass(frozen=True)
class Finding:
    """Something that delays a Job, or may do so later.

    Attributes:
        reason, message: of the condition; no reason while it is too early to report.
        fatal: it fails the run.
        ask: an inspection that must be answered first.
        again_after: seconds until the next check.
        tells_news: update the condition whenever the message changes, not only the reason.
    """

    reason: str = ""
    message: str = ""
    fatal: bool = False
    ask: Inspection | None = None
    again_after: float | None = None
    tells_news: bool = False

    def no_later_than(self, again_after: float | None) -> Finding:
        """A copy with an earlier next check."""
        return replace(self, again_after=earliest(self.again_after, again_after))


NOTHING = Finding()


PENDING = "QueuePending"
NO_QUEUE = "QueueControllerMissing"
JOB_SUSPENDED = "JobSuspended"


def queued(run: Run, job: ObservedJob, started: bool) -> Finding:
    """Checks a suspended Job. Waiting in a queue never fails a run; a queue that does not exist does."""
    settings, before, waits = run.settings, run.context.state_before, f"waits in the queue {job.queue}"
    waited = seconds_between(job.created_at, run.now)
    if waited < settings.queue_pending:
        return Finding(again_after=settings.queue_pending - waited)
    if not job.queue:
        return _suspended(run, job)
    inspection = Inspection("workload", job.name)
    answer = run.context.answer(inspection, settings.queue_answer_age)
    if answer is None or (answer.holds is False and seconds_between(answer.at, run.now) > settings.answer_age):
        known = before.reason in (PENDING, NO_QUEUE)
        return Finding(before.reason if known else PENDING, before.message if known else waits, ask=inspection)
    if answer.holds is not False or waited < settings.queue_controller:
        again_after = settings.queue_answer_age if answer.holds else settings.answer_age
        text = f"{waits}; why {answer.message}" if answer.holds is None else answer.holds and answer.message
        return Finding(PENDING, text or waits, again_after=again_after, tells_news=True)
    text = answer.message or f"no Workload was made for the queue {job.queue}"
    text = f"{text}: is Kueue installed, and does it serve this namespace?"
    was_so = before.reason == NO_QUEUE
    is_late = waited >= run.plan.spec.execution.start_deadline_seconds
    return Finding(NO_QUEUE, text, fatal=was_so and is_late and not started, again_after=settings.answer_age)


def _suspended(run: Run, job: ObservedJob) -> Finding:
    """Checks a Job that is suspended although it names no queue: by a person, or by Kueue, which may take all Jobs."""
    inspection = Inspection("workload", job.name)
    answer = run.context.answer(inspection, run.settings.queue_answer_age)
    by_person = f"somebody suspended the Job {job.name}; resume it, or delete it"
    if answer is None:
        before = run.context.state_before
        known = before.reason in (PENDING, JOB_SUSPENDED)
        return Finding(before.reason if known else "", before.message if known else "", ask=inspection)
    again_after = run.settings.queue_answer_age
    if answer.holds:
        text = (
            f"Kueue holds the Job {job.name} although it names no queue (manageJobsWithoutQueueName): set "
            "scheduling.queueName and cpuQueueName, here or in the lab's defaults"
        )
        return Finding(PENDING, f"{text}; {answer.message}" if answer.message else text, again_after=again_after)
    if answer.holds is None:
        by_person += "; if Kueue did (manageJobsWithoutQueueName), set scheduling.queueName and cpuQueueName"
    return Finding(JOB_SUSPENDED, by_person, again_after=again_after)


def releases(context: DecisionContext) -> tuple[list[Action], float | None]:
    """Pods to release, nodes to inspect, and seconds until the next check.

    Releases a Pod that is still terminating a minute after its grace period if its node is gone or not Ready. Nothing
    else does, and force deletion does not help: the Job controller's finalizer waits for the Pod's phase.
    """
    actions: list[Action] = []
    again_after: float | None = None
    for pod in context.observed.pods:
        if pod.deleted_at is None or not pod.node or pod.phase not in ("Pending", "Running", "Unknown"):
            continue
        overdue = (context.now - pod.deleted_at).total_seconds() - context.settings.node_loss
        if overdue < 0:
            again_after = earliest(again_after, -overdue)
            continue
        again_after = earliest(again_after, context.settings.node_loss)
        inspection = Inspection("node", pod.node)
        answer = context.answer(inspection)
        if answer is None and Inspect(inspection) not in actions:
            actions.append(Inspect(inspection))
        elif answer is not None and answer.holds is False:
            actions.append(ReleasePod(pod.name, pod.uid))
    asks = any(isinstance(action, Inspect) for action in actions)
    return actions, earliest(again_after, context.settings.answer_soon if asks else None)
