"""A Job that its queue holds back: who serves the queue owns the Job's suspension."""

from __future__ import annotations

from dataclasses import replace

from scenewright.reconcile.decide import folding
from scenewright.reconcile.decide.findings import Finding
from scenewright.reconcile.decide.times import seconds_between
from scenewright.reconcile.decide.turns import Run
from scenewright.reconcile.observation import Answer, Inspection, ObservedJob

PENDING = "QueuePending"
NO_CONTROLLER = "QueueControllerMissing"


def queued(run: Run, job: ObservedJob) -> Finding:
    """What is known of a suspended Job; none of it ever fails a run, for time in a queue does not count."""
    settings = run.settings
    waited = seconds_between(job.created_at, run.now)
    if waited < settings.queue_pending:
        return Finding(again_after=settings.queue_pending - waited)
    queue = folding.queue_of(run.plan, job.step)
    if not queue:
        return Finding("JobSuspended", f"somebody suspended the Job {job.name}; resume it, or delete it")
    inspection = Inspection("workload", job.name)
    answer = run.situation.answer(inspection, settings.queue_answer_age)
    if answer is None or (not answer.holds and seconds_between(answer.at, run.now) > settings.answer_age):
        return replace(_as_before(run, queue), ask=inspection)
    # Who may not read Workloads has a message instead, and does not know whether there is one.
    if answer.holds or answer.message or waited < settings.queue_controller:
        again_after = settings.queue_answer_age if answer.holds else settings.answer_age
        return Finding(PENDING, _words(answer, queue), again_after=again_after, tells_news=True)
    text = f"no Workload was made for the queue {queue}: is Kueue installed, and does it serve this namespace?"
    return Finding(NO_CONTROLLER, text, again_after=settings.answer_age)


def _words(answer: Answer, queue: str) -> str:
    if answer.holds and answer.message:
        return answer.message
    return f"{_waits(queue)}; why {answer.message}" if answer.message else _waits(queue)


def _waits(queue: str) -> str:
    return f"waits in the queue {queue}"


def _as_before(run: Run, queue: str) -> Finding:
    before = run.situation.standing_before
    if before.reason in (PENDING, NO_CONTROLLER):
        return Finding(before.reason, before.message)
    return Finding(PENDING, _waits(queue))
