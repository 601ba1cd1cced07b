"""Creates Jobs and watches whether their Pods start; if not, waits, reports the reason or fails the run.

The chain calls :func:`created` without a Job and :func:`watched` with a live one. Each check returns a `Finding`. A
wrong configuration or the start deadline fails the run; waiting for capacity does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from scenewright.execution.jobs import CreateJob, job_manifest, job_name, names
from scenewright.reconcile.cache.observation import Answer, Inspection, ObservedJob, ObservedPod
from scenewright.reconcile.decide import endings
from scenewright.reconcile.decide.actions import Action, DeleteJob, Inspect, SetParallelism
from scenewright.reconcile.decide.blockers import NO_QUEUE, NOTHING, Finding, queued
from scenewright.reconcile.decide.context import (
    ObjectState,
    PartialDecision,
    Run,
    condition_of,
    moment_of,
    seconds_between,
)

CONFIGURATION_ERRORS = frozenset(
    {"ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError"}
)
PULL_ERRORS = frozenset({"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"})
WITHOUT_PODS = frozenset({"PodsNotCreated", "PodsRefused", "QuotaExceeded", "PodSecurity", "ImageNotConfigured"})
"""Reasons of a Job that has no Pods."""


def created(run: Run, create: CreateJob, doing: ObjectState) -> PartialDecision:
    """Creates a Job. If the API server refuses it (quota, policy), retries until the start deadline."""
    owner = run.context.observed.object
    name = job_name(owner.kind, owner.name, owner.uid, run.plan.work_hash, create.step)
    answer = run.context.answer(Inspection("failed-creates", name), run.settings.refusal_age)
    if answer is None or not answer.holds:
        # No event arrives for a Pod that a quota or policy refuses: check soon whether there is one.
        return run.decided(doing, create, again_after=run.settings.without_pods)
    if answer.invalid:
        return endings.failed(run, "ConfigurationError", f"the Job {name} cannot be created: {answer.message}")
    reason = _refusal(answer.message)
    if seconds_between(_waiting_since(run), run.now) >= run.plan.spec.execution.start_deadline_seconds:
        return endings.failed(run, reason, answer.message)
    waiting = ObjectState("Waiting", reason, _steady(run, Finding(reason, answer.message)))
    return run.decided(waiting, create, again_after=run.settings.without_pods)


def _waiting_since(run: Run) -> datetime:
    """When the run started to wait; now if it is not waiting. A wait before the run does not count."""
    condition = condition_of(run.context.before.conditions, "Waiting")
    if condition is None or condition.status != "True":
        return run.now
    waiting, began = moment_of(condition.last_transition_time), moment_of(run.memory.started_at)
    return max(waiting or run.now, began or run.now)


def watched(run: Run, job: ObservedJob, create: CreateJob, doing: ObjectState) -> PartialDecision:
    """Watches a live Job. `create` is how it would be created now, `doing` the state if nothing delays it."""
    look = Look.at(run, job)
    finding = queued(run, job, look.started) if job.suspended else _first_finding(look)
    is_held = job.suspended and finding.reason != NO_QUEUE
    if finding.reason and not look.started and not is_held and _is_outdated(look, create):
        again_after = run.settings.look_again
        return run.decided(doing, DeleteJob(job.name, job.uid, "edited before it could start"), again_after=again_after)
    if finding.fatal:
        return endings.failed(run, finding.reason, finding.message)
    state = ObjectState("Waiting", finding.reason, _steady(run, finding)) if finding.reason else doing
    partial = run.decided(state, *_parallelism(look), again_after=finding.again_after)
    if finding.ask is None:
        return partial
    return partial.also(Inspect(finding.ask), again_after=run.settings.answer_soon)


def _is_outdated(look: Look, create: CreateJob) -> bool:
    """Whether the object or the operator's configuration was edited so that the Job's manifest would differ now."""
    owner = look.run.context.observed.object
    try:
        manifest = job_manifest(create.applied_to(look.run.plan), owner, create, look.run.settings.pods)
    except ValueError:
        # The manifest cannot be built now.
        return False
    return bool(manifest["metadata"]["annotations"][names.TEMPLATE] != look.job.template)


@dataclass(frozen=True)
class Look:
    """What the checks need to know about a Job.

    Attributes:
        since: when its Pods could have started; time in a queue does not count.
        pods: its Pods that are not being deleted.
        started: a Pod of this Job has run.
        deadline: ``startDeadlineSeconds``.
    """

    run: Run
    job: ObservedJob
    since: datetime
    pods: tuple[ObservedPod, ...]
    started: bool
    deadline: float

    @classmethod
    def at(cls, run: Run, job: ObservedJob) -> Look:
        """Collects it from the observed Job and Pods."""
        pods = run.context.pods_of(job)
        stage = run.stages.get(job.step)
        known = bool(job.succeeded or job.ready or (stage is not None and stage.started_at))
        return cls(
            run=run,
            job=job,
            since=job.started_at or job.created_at,
            pods=tuple(pod for pod in pods if pod.deleted_at is None),
            started=known or any(pod.started_at is not None or pod.exit_code is not None for pod in pods),
            deadline=float(run.plan.spec.execution.start_deadline_seconds),
        )

    def waited(self, since: datetime | None = None) -> float:
        """Seconds since a moment; by default since the Job's Pods could have started."""
        return seconds_between(since or self.since, self.run.now)


def _first_finding(look: Look) -> Finding:
    """The first check that finds something, with the earliest next look of the checks up to it."""
    checks: tuple[Callable[[Look], Finding], ...] = (_unending_pod, _broken_pod, _no_pods, _unschedulable, _slow_pod)
    again_after: float | None = None
    for check in checks:
        finding = check(look)
        if finding.reason or finding.ask is not None:
            return finding.no_later_than(again_after)
        again_after = finding.no_later_than(again_after).again_after
    return Finding(again_after=again_after)


def _unending_pod(look: Look) -> Finding:
    """Checks for a Pod that does not end although its worker has: an injected container still runs beside it."""
    held = [pod for pod in look.pods if pod.still_running and pod.phase == "Running" and pod.finished_at is not None]
    if not held:
        return NOTHING
    pod = min(held, key=lambda each: (each.finished_at or each.created_at, each.index))
    left = look.run.settings.sidecar_grace - look.waited(pod.finished_at)
    if left > 0 or look.job.ready:
        return Finding(again_after=max(left, look.run.settings.sidecar_grace))
    text = (
        f"the worker of shard {pod.index} of {pod.step} has ended, but {pod.still_running} still runs in its Pod; "
        "use native sidecars, or name the address that ends it (stages.sidecarQuitUrls)"
    )
    return Finding("SidecarRuns", text, again_after=look.run.settings.look_again)


def _broken_pod(look: Look) -> Finding:
    """Checks for a Pod whose image or container configuration is broken.

    If other Pods of the stage have run, the node is most likely at fault: such a Pod gets the whole start deadline.
    """
    broken = [pod for pod in look.pods if pod.waiting_reason in CONFIGURATION_ERRORS | PULL_ERRORS]
    if not broken:
        return NOTHING
    pod = min(broken, key=lambda each: (_scheduled(each), each.index))
    settings = look.run.settings
    is_pull = pod.waiting_reason in PULL_ERRORS
    grace = settings.pull_grace if is_pull else settings.configuration_grace
    if look.started:
        grace = max(grace, look.deadline)
    left = grace - look.waited(_scheduled(pod))
    reason = "ImagePullBackOff" if is_pull else pod.waiting_reason
    if left > 0 and look.job.ready:
        return Finding(again_after=left)
    return Finding(reason, _start_failure(pod, pod.waiting_message or pod.waiting_reason), left <= 0, again_after=left)


def _no_pods(look: Look) -> Finding:
    """Checks for a Job whose Pods cannot be created (quota, Pod Security, webhook). Only its Events say why."""
    job = look.job
    if job.active or job.terminating or any(pod.phase in ("Pending", "Running") for pod in look.pods):
        return NOTHING
    had_pods = bool(job.succeeded or job.failed or look.pods)
    last = max((pod.finished_at for pod in look.pods if pod.finished_at is not None), default=look.since)
    grace = look.run.settings.back_off if had_pods else look.run.settings.without_pods
    waited = look.waited(last)
    if waited < grace:
        return Finding(again_after=grace - waited)
    if job.started_at is None:
        return _not_picked_up(look)
    inspection = Inspection("failed-creates", job.name)
    answer = look.run.context.answer(inspection)
    if answer is None or answer.at < look.since:
        return replace(_current_wait(look), ask=inspection)
    if not answer.holds:
        return _unexplained(look, answer, last, grace + look.run.settings.notice, is_fatal=not had_pods)
    left = look.deadline - waited
    return Finding(_refusal(answer.message), answer.message, left <= 0, again_after=_look_again(look, left))


def _not_picked_up(look: Look) -> Finding:
    """The Job has no start time: the Job controller has not seen it, so no Event explains it. Never fails the run."""
    settings = look.run.settings
    was_reported = look.run.context.state_before.reason == "PodsNotCreated"
    soon = Finding(again_after=settings.without_pods)
    if not was_reported and look.waited(_wait_ended_at(look)) < settings.not_taken_up:
        return soon
    text = f"the Job controller has not looked at the Job {look.job.name} yet; does it run?"
    return replace(soon, reason="PodsNotCreated", message=text)


def _wait_ended_at(look: Look) -> datetime:
    """When the Job's last wait ended; before that, a queue or a person may have held it back."""
    waiting = condition_of(look.run.context.before.conditions, "Waiting")
    if waiting is None:
        return look.job.created_at
    if waiting.status == "True":
        return look.run.now
    return max(look.job.created_at, moment_of(waiting.last_transition_time) or look.job.created_at)


def _unexplained(look: Look, answer: Answer, last: datetime, grace: float, *, is_fatal: bool) -> Finding:
    """No Pod and no Event: ignores a lagging Job controller, reports a missing one on the second check."""
    job = look.job
    waited = look.waited(last)
    if waited < grace:
        return replace(_current_wait(look), again_after=grace - waited)
    if seconds_between(last, answer.at) < grace:
        return replace(_current_wait(look), ask=Inspection("failed-creates", job.name))
    left = look.deadline - waited
    text = f"the Job {job.name} has no Pods, and no Event says why; does the Job controller run?"
    return Finding("PodsNotCreated", text, left <= 0 and is_fatal, again_after=_look_again(look, left))


def _unschedulable(look: Look) -> Finding:
    """Checks for Pods that no node has room for now. Waits as long as some node could run them."""
    pending = [pod for pod in look.pods if pod.unschedulable]
    if not pending or look.job.ready:
        return NOTHING
    waited = look.waited(min(pod.created_at for pod in pending))
    settings = look.run.settings
    if waited < settings.notice:
        return Finding(again_after=settings.notice - waited)
    wait = Finding("WaitingForCapacity", pending[0].unschedulable)
    left = look.deadline - waited
    if look.started or left > 0:
        return replace(wait, again_after=None if look.started else left)
    inspection = Inspection("capacity", look.job.name)
    answer = look.run.context.answer(inspection)
    if answer is None:
        return replace(wait, ask=inspection)
    if answer.holds is not False:
        said = answer.message
        return replace(wait, message=said or wait.message, tells_news=bool(said), again_after=settings.answer_age)
    text = f"no node can ever run it: {answer.message or pending[0].unschedulable}"
    return Finding("Unschedulable", text, fatal=True)


def _slow_pod(look: Look) -> Finding:
    """Checks for a scheduled Pod that does not start, because of a missing volume or a slow image pull."""
    pending = [pod for pod in look.pods if _is_starting(pod)]
    if not pending:
        return Finding(again_after=look.run.settings.notice) if not look.started else NOTHING
    pod = min(pending, key=lambda each: (_scheduled(each), each.index))
    waited = look.waited(_scheduled(pod))
    grace = look.run.settings.slow_start
    left = look.deadline - waited
    if left > 0 and (waited < grace or look.job.ready):
        return Finding(again_after=left if look.job.ready else min(left, grace - waited))
    reason = "PodNotStarting" if left > 0 else "StartDeadlineExceeded"
    return Finding(reason, _start_failure(pod, pod.waiting_message or pod.waiting_reason), left <= 0, again_after=left)


def _is_starting(pod: ObservedPod) -> bool:
    """Whether a Pod is scheduled and starting, without a known error."""
    known = pod.unschedulable or pod.waiting_reason in CONFIGURATION_ERRORS | PULL_ERRORS
    return pod.phase == "Pending" and not known and pod.started_at is None and pod.exit_code is None


def _scheduled(pod: ObservedPod) -> datetime:
    return pod.scheduled_at or pod.created_at


def _start_failure(pod: ObservedPod, text: str) -> str:
    return f"shard {pod.index} of {pod.step} cannot start: {text or 'no reason is known'}"


def _refusal(message: str) -> str:
    """Condition reason for a refused Pod, by the API server's message."""
    lower = message.lower()
    if "exceeded quota" in lower:
        return "QuotaExceeded"
    if lower.startswith("images."):
        return "ImageNotConfigured"
    return "PodSecurity" if "podsecurity" in lower else "PodsRefused"


def _look_again(look: Look, left: float) -> float:
    """Seconds until the answer is too old, or until the deadline if that is sooner."""
    age = look.run.settings.answer_age
    return min(left, age) if left > 0 else age


def _current_wait(look: Look) -> Finding:
    """The previous wait, so that a pending inspection changes nothing."""
    before = look.run.context.state_before
    is_waiting = before.phase == "Waiting" and before.reason in WITHOUT_PODS
    return Finding(before.reason, before.message) if is_waiting else NOTHING


def _steady(run: Run, finding: Finding) -> str:
    """The message of a wait. Keeps it while the reason is the same, since Pods' messages differ with each attempt."""
    before = run.context.state_before
    is_same = before.phase == "Waiting" and before.reason == finding.reason and not finding.tells_news
    return before.message if is_same else finding.message


def _parallelism(look: Look) -> list[Action]:
    """Patches the parallelism of a stage's live Job. Once a queue has admitted a Job, the queue alone sets it.

    A queue suspends a Job that it evicts first and restores its parallelism in a later request: what is seen in between
    is not to be mended.
    """
    job, wanted = look.job, look.run.plan.spec.execution.max_parallelism
    is_stage = job.step in look.run.plan.keys and job.completions > 1
    belongs_to_queue = bool(job.queue) and (look.started or not job.suspended)
    if not is_stage or belongs_to_queue or min(wanted, job.completions) == min(job.parallelism, job.completions):
        return []
    return [SetParallelism(job.name, job.uid, min(wanted, job.completions))]
