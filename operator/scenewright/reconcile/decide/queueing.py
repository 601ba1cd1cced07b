"""A Job that its queue holds back: who serves the queue owns the Job's suspension."""

from __future__ import annotations

from dataclasses import replace

from scenewright.reconcile.decide.findings import Finding
from scenewright.reconcile.decide.times import seconds_between
from scenewright.reconcile.decide.turns import Run
from scenewright.reconcile.observation import Answer, Inspection, ObservedJob

PENDING = "QueuePending"
NO_QUEUE = "QueueControllerMissing"


def queued(run: Run, job: ObservedJob, started: bool) -> Finding:
    """What is known of a suspended Job. Time in a queue never fails a run; a queue that does not exist does.

    Args:
        run: the run.
        job: its suspended Job.
        started: whether a Pod of the Job has run.
    """
    settings = run.settings
    waited = seconds_between(job.created_at, run.now)
    if waited < settings.queue_pending:
        return Finding(again_after=settings.queue_pending - waited)
    if not job.queue:
        return Finding("JobSuspended", f"somebody suspended the Job {job.name}; resume it, or delete it")
    inspection = Inspection("workload", job.name)
    answer = run.situation.answer(inspection, settings.queue_answer_age)
    if answer is None or (answer.holds is False and seconds_between(answer.at, run.now) > settings.answer_age):
        return replace(_as_before(run, job), ask=inspection)
    if answer.holds is not False or waited < settings.queue_controller:
        again_after = settings.queue_answer_age if answer.holds else settings.answer_age
        return Finding(PENDING, _words(answer, job), again_after=again_after, tells_news=True)
    text = answer.message or f"no Workload was made for the queue {job.queue}"
    text = f"{text}: is Kueue installed, and does it serve this namespace?"
    was_so = run.situation.standing_before.reason == NO_QUEUE
    is_late = waited >= run.plan.spec.execution.start_deadline_seconds
    return Finding(NO_QUEUE, text, fatal=was_so and is_late and not started, again_after=settings.answer_age)


def _words(answer: Answer, job: ObservedJob) -> str:
    if answer.holds is None:
        return f"{_waits(job)}; why {answer.message}"
    return (answer.message if answer.holds else "") or _waits(job)


def _waits(job: ObservedJob) -> str:
    return f"waits in the queue {job.queue}"


def _as_before(run: Run, job: ObservedJob) -> Finding:
    before = run.situation.standing_before
    if before.reason in (PENDING, NO_QUEUE):
        return Finding(before.reason, before.message)
    return Finding(PENDING, _waits(job))
