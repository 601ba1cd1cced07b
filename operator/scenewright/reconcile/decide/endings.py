"""Ends steps, passes and runs: reads the reports of Pods and decides what is repeated, complete or failed.

The chain calls it when a Job has ended or is lost. Temporary failures and missing samples repeat a step or a pass, a
limited number of times (`Status.restarts`, `Status.passes`); everything else ends the run.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from scenewright.api.raw import Json
from scenewright.api.status import FailureStatus, Outputs, Phase, Publication
from scenewright.execution.jobs.resources import asks_for_gpu
from scenewright.planning.plan import Plan
from scenewright.planning.protocol import end_of_pass, end_of_run
from scenewright.reconcile.cache.observation import Inspection, ObservedJob, ObservedPod
from scenewright.reconcile.decide import counts
from scenewright.reconcile.decide.actions import DeleteJob, Inspect
from scenewright.reconcile.decide.context import (
    DecisionContext,
    ObjectState,
    PartialDecision,
    Run,
    seconds_between,
    text_of,
)
from scenewright_stages.contract.errors import ExitCode
from scenewright_stages.contract.reports import AWAITING, MAXIMUM_WARNINGS, OUTPUT_IN_USE, Report, StageCounts, cut
from scenewright_stages.contract.task import PUBLISH_STEP


def restart_run(run: Run, reason: str, message: str, **changes: int) -> PartialDecision:
    """Deletes the Jobs of the pass. Once they are gone, the pass starts over at its index.

    The status records this (`clearing`) while the Jobs are still terminating, so that a restarted operator continues.
    """
    stages = [counts.stopped(stage) for stage in run.memory.stages]
    run = run.remembering(clearing=True, stages=stages, **changes)
    return cleared(run, ObjectState("Indexing", reason, message))


def cleared(run: Run, state: ObjectState) -> PartialDecision:
    """Deletes the remaining Jobs of the pass."""
    again_after = run.settings.look_again if run.jobs else run.settings.answer_soon
    state = held(run.context) or (state if state.reason != DELETION_HELD else _ENDING)
    return run.decided(state, *deletions(run.jobs.values(), state.message), again_after=again_after)


DELETION_HELD = "DeletionHeld"
_ENDING = ObjectState("Indexing", "EndingPreviousRun", "the Jobs of an earlier pass are being deleted")


def held(context: DecisionContext) -> ObjectState | None:
    """The wait for a deleted Job or Pod that a finalizer of somebody else keeps; None if there is none."""
    observed = context.observed
    found = [(f"Job {each.name}", each.held_by) for each in observed.jobs if each.held_by]
    # The Job of such a Pod waits for it.
    found += [
        (f"Pod {each.name}", each.held_by) for each in observed.pods if each.held_by and each.exit_code is not None
    ]
    if not found:
        return None
    name, finalizers = found[0]
    text = f"the {name} is being deleted, but {finalizers} keeps it; whoever set this finalizer must remove it"
    return ObjectState("Waiting", DELETION_HELD, text)


def deletions(jobs: Iterable[ObservedJob], why: str) -> list[DeleteJob]:
    """Deletions of all Jobs that are not being deleted already."""
    return [DeleteJob(job.name, job.uid, why) for job in jobs if not job.deleting]


ENDS_THE_RUN = (ExitCode.CONFIGURATION, ExitCode.SAMPLE_FAILED)
NO_WORDS = "the process ended without saying why; see its log"


def report_of(run: Run, job: ObservedJob, steps: Collection[str]) -> Report | None:
    """The report for one of `steps` from the Job's last successful Pod."""
    reports = [
        pod.report
        for pod in _by_age(run, job)
        if pod.exit_code == 0 and pod.report is not None and pod.report.step in steps
    ]
    return reports[-1] if reports else None


def last_report(run: Run, job: ObservedJob) -> Report | None:
    """The report of the last Pod that left one, successful or not."""
    reports = [pod.report for pod in _by_age(run, job) if pod.report is not None]
    return reports[-1] if reports else None


def why_ended(pod: ObservedPod) -> tuple[str, str]:
    """Reason and message of a run that failed with this Pod."""
    message = (pod.report.message if pod.report else "") or NO_WORDS
    if pod.exit_code == ExitCode.SAMPLE_FAILED:
        return "SampleFailed", message
    return condition_reason(pod.report.reason if pod.report else "", "ConfigurationError"), message


def condition_reason(text: str, otherwise: str) -> str:
    """The text as a condition's reason, which must be one word."""
    word = re.sub(r"[^A-Za-z0-9]", "", text)[:64]
    return word if word[:1].isalpha() else otherwise


def _by_age(run: Run, job: ObservedJob) -> list[ObservedPod]:
    return sorted(run.context.pods_of(job), key=lambda pod: (pod.finished_at or pod.created_at, pod.name))


ENDED_BY_A_POD = "PodFailurePolicy"
SHARDS_LOST = "FailedIndexes"
FIRST_SHARD_LOST = "MaxFailedIndexesExceeded"
"""Reason of a failed Job under ``onSampleError: Fail``, which ends with its first lost shard."""


def failed(run: Run, reason: str, message: str) -> PartialDecision:
    """Fails the run and deletes the Jobs that still run."""
    live = [job for job in run.context.observed.jobs if not job.ended]
    stages = [counts.stopped(stage, "Failed") for stage in run.memory.stages]
    run = run.remembering(stages=stages, finished_at=text_of(run.now))
    return run.decided(ObjectState("Failed", reason, message), *deletions(live, f"the run has failed: {reason}"))


def complete(run: Run, reason: str, message: str) -> PartialDecision:
    run = run.remembering(finished_at=text_of(run.now), stage="")
    return run.decided(ObjectState("Complete", reason, message))


def step_failed(run: Run, job: ObservedJob, otherwise: str) -> PartialDecision:
    """Handles a failed Job. The Pod's report gives the reason; without one it is `otherwise`."""
    # Find the Pod whose exit code failed the Job by its status: the Job's message is not meant to be parsed.
    pod = next((each for each in run.context.pods_of(job) if each.exit_code in ENDS_THE_RUN), None)
    if (in_use := _in_use(run, job, pod.report if pod is not None else None)) is not None:
        return in_use
    is_unread = job.reason == ENDED_BY_A_POD and (pod is None or pod.report is None)
    if is_unread and (waiting := waiting_for_report(run, job)) is not None:
        return waiting
    if pod is not None:
        if pod.report is not None and pod.report.failures:
            run = run.remembering(failures=notes(pod.report)["failures"])
        return failed(run, *why_ended(pod))
    report = last_report(run, job)
    reported = ": ".join(text for text in (report.reason, report.message) if text) if report else ""
    message = f"{job.step}: {reported or job.message or NO_WORDS}"
    if job.step in run.stages:
        return failed(run, condition_reason(job.reason, otherwise), message)
    return _repeated(run, job, otherwise, message)


def _repeated(run: Run, job: ObservedJob, otherwise: str, message: str) -> PartialDecision:
    """Repeats a failed CPU step after a pause: most likely the cause was a short outage."""
    repeats = run.memory.restarts
    if job.reason not in (SHARDS_LOST, FIRST_SHARD_LOST) or not _may_repeat(run):
        return failed(run, otherwise, message)
    phase: Phase = "Publishing" if job.step == PUBLISH_STEP else "Indexing"
    state = ObjectState(phase, otherwise, f"{message}; it runs again")
    left = run.settings.repeat * 2**repeats - seconds_between(job.ended_at or job.created_at, run.now)
    run = run.remembering(stage=job.step)
    if left > 0:
        return run.decided(state, again_after=left)
    return run.remembering(restarts=repeats + 1).decided(state, DeleteJob(job.name, job.uid, state.message))


def _in_use(run: Run, job: ObservedJob, report: Report | None) -> PartialDecision | None:
    """Waits while somebody else holds the output's lock; None if nobody does.

    Once the lock may have expired, the pass starts over at its index, since the other holder may have changed what
    this run has read. If the Pod's report is gone by then, it waits for the longest time.
    """
    before, ended_at = run.context.state_before, job.ended_at or job.created_at
    if report is not None and report.reason == OUTPUT_IN_USE:
        state = ObjectState("Waiting", OUTPUT_IN_USE, report.message)
        pause = min(max(report.retry_at - ended_at.timestamp(), run.settings.repeat), run.settings.in_use)
    elif report is None and (before.phase, before.reason) == ("Waiting", OUTPUT_IN_USE):
        state, pause = before, run.settings.in_use
    else:
        return None
    if not _may_repeat(run):
        return failed(run, OUTPUT_IN_USE, state.message)
    left = pause - seconds_between(ended_at, run.now)
    if left > 0:
        return run.remembering(stage=job.step).decided(state, again_after=left)
    return restart_run(run, OUTPUT_IN_USE, state.message, restarts=run.memory.restarts + 1)


def _may_repeat(run: Run) -> bool:
    return run.memory.restarts < run.settings.repeats and run.plan.spec.execution.retries.passes > 0


def report_lost(run: Run, job: ObservedJob) -> PartialDecision:
    """Reruns a complete CPU Job whose report is gone with its Pod. CPU steps are safe to repeat."""
    if (waiting := waiting_for_report(run, job)) is not None:
        return waiting
    restarts = run.memory.restarts + 1
    if restarts > run.settings.restarts:
        return failed(run, "ReportLost", f"{job.step}: the report was lost {restarts} times before it could be read")
    run = run.remembering(restarts=restarts, stage=job.step)
    message = f"the report of {job.step} was gone before it could be read; it runs again"
    phase: Phase = "Publishing" if job.step == PUBLISH_STEP else "Indexing"
    return run.decided(ObjectState(phase, "ReportLost", message), DeleteJob(job.name, job.uid, message))


def job_lost(run: Run, stage: str) -> PartialDecision:
    """Starts the pass over when a running stage's Job is gone. The index finds what is left to do."""
    restarts = run.memory.restarts + 1
    if restarts > run.settings.restarts:
        return failed(run, "JobLost", f"{stage}: Jobs of this run were deleted by somebody else {restarts} times")
    message = f"the Job of {stage} is gone; the pass starts over at its index"
    return restart_run(run, "JobLost", message, restarts=restarts)


def planned(run: Run) -> PartialDecision:
    """Completes a plan-only run after its index, with an estimate of the GPU hours."""
    todo = {stage.name: stage.indexed.todo for stage in run.memory.stages if stage.indexed.todo}
    listed = ", ".join(f"{name} {count}" for name, count in todo.items()) or "nothing"
    stages = [run.plan.stage(name) for name in todo if asks_for_gpu(run.plan, name)]
    hours = sum(todo[stage.name] * stage.pod.seconds_per_sample * max(1, stage.pod.gpus) for stage in stages) / 3600
    estimate = f"; about {hours:.1f} GPU hours" if hours >= 0.05 else ""
    return complete(run, "Planned", f"planned only; samples to make: {listed}{estimate}")


def published(run: Run, report: Report) -> PartialDecision:
    """Ends the run, or starts another pass, by the counts of publish, which read every record."""
    stages = counts.published_stages(run.memory.stages, report.stages)
    outputs = {name: cut(report.outputs.get(name, ""), 1024) for name in Outputs.model_fields}
    publication = Publication(hash=report.publication, chosen=report.chosen)
    units = counts.unit_status(report)
    run = run.remembering(
        stages=stages, outputs=Outputs(**outputs), publication=publication, samples=units, **notes(report)
    )
    missing = sum(each.missing for each in report.stages.values())
    if missing:
        return _missing(run, report, missing)
    end = end_of_run(report)
    if end.reason == AWAITING:
        # Everything else is done, and nothing runs until a retry.
        owner = run.context.observed.object
        command = f"scenewright pick {owner.kind.lower()}/{owner.name} -n {owner.namespace}"
        state = ObjectState("Waiting", AWAITING, f"{end.message} for a choice: `{command}`")
        return run.remembering(stage="").decided(state)
    if not _any_done(run.plan, report):
        return failed(run, "NoSampleDone", _none_done(report))
    if end.reason == "Complete" and report.counted().done == report.counted().total:
        return complete(run, "Succeeded", f"all {report.counted().total} samples are done")
    if end.reason == "Complete":
        return complete(run, "Succeeded", end.message)
    return complete(run, end.reason, f"{end.message}{_why(report)}")


def notes(report: Report) -> Json:
    """Failures, warnings and rejected inputs of a report, cut to the limits of the status."""
    failures = [
        FailureStatus(
            sample=cut(each.sample, 100),
            stage=each.stage[:32],
            reason=cut(each.reason, 64),
            message=cut(each.message, 200),
        )
        for each in report.failures[:20]
    ]
    warnings = [cut(text, 200) for text in report.warnings[:MAXIMUM_WARNINGS]]
    return {"failures": failures, "warnings": warnings, "rejected": report.rejected}


def _missing(run: Run, report: Report, missing: int) -> PartialDecision:
    passes = run.memory.passes
    if end_of_pass(report, passes, run.plan.spec.execution.retries.passes) == "finished":
        text = f"{missing} samples have no result after {passes} passes; the logs say why their processes ended"
        return failed(run, "SamplesMissing", text)
    text = f"{missing} samples have no result; pass {passes + 1} goes over them"
    return restart_run(run, "NextPass", text, passes=passes + 1)


def _any_done(plan: Plan, report: Report) -> bool:
    """Whether any sample is done in a final stage: one that no other selected stage reads."""
    selected = [plan.stage(name) for name in plan.selected]
    read = {name for stage in selected for name in stage.upstream()}
    ends = [stage.name for stage in selected if stage.name not in read]
    return any(report.stages.get(name, StageCounts()).done for name in ends)


def _none_done(report: Report) -> str:
    total = max(report.counted().total, report.rejected)
    text = f"none of {total} samples is done{_why(report)}" if total else "the input holds no sample"
    return report.empty_reason() or text


def _why(report: Report) -> str:
    """The first failure as text."""
    if not report.failures:
        return ""
    first = report.failures[0]
    why = ": ".join(text for text in (first.reason, first.message) if text)
    return f"; {first.sample} in {first.stage}: {why}"


def waiting_for_report(run: Run, job: ObservedJob) -> PartialDecision | None:
    """Keeps the state while the Pod's report may still arrive; None if it will not.

    After `report_grace` it lists the Job's Pods, so that a stalled watch does not cause a rerun.
    """
    ended_at, state = job.ended_at or job.created_at, run.context.state_before
    run = run.remembering(stage=job.step)
    wait = run.settings.report_grace - seconds_between(ended_at, run.now)
    if wait > 0:
        return run.decided(state, again_after=wait)
    inspection = Inspection("pods", job.name)
    answer = run.context.answer(inspection)
    if answer is None or answer.at < ended_at:
        return run.decided(state, Inspect(inspection), again_after=run.settings.answer_soon)
    return None
