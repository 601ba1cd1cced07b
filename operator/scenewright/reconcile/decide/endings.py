"""How steps, passes and runs end: what Pods reported, what is repeated, and what is taken away before that."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from scenewright.api.status import FailureStatus, Outputs, Phase, Publication
from scenewright.execution.jobs.resources import asks_for_gpu
from scenewright.planning.plan import Plan
from scenewright.planning.protocol import end_of_pass
from scenewright.reconcile.act.actions import DeleteJob, Inspect
from scenewright.reconcile.cache.observation import Inspection, ObservedJob, ObservedPod
from scenewright.reconcile.decide import counts
from scenewright.reconcile.decide.context import ObjectState, PartialDecision, Run, seconds_between, text_of
from scenewright_stages.contract.errors import ExitCode
from scenewright_stages.contract.reports import AWAITING, OUTPUT_IN_USE, Report, StageCounts, cut
from scenewright_stages.contract.task import PUBLISH_STEP


def begin_again(run: Run, reason: str, message: str, **changes: int) -> PartialDecision:
    """Deletes the Jobs of the pass. Once they are gone, the pass begins at its index.

    The status says so before anything is deleted for good, so that an operator that starts in between can continue.
    """
    stages = [counts.at_rest(stage) for stage in run.memory.stages]
    run = run.remembering(clearing=True, stages=stages, **changes)
    return cleared(run, ObjectState("Indexing", reason, message))


def cleared(run: Run, state: ObjectState) -> PartialDecision:
    """Deletes what is left of the pass."""
    again_after = run.settings.look_again if run.jobs else run.settings.answer_soon
    return run.decided(state, *deletions(run.jobs.values(), state.message), again_after=again_after)


def deletions(jobs: Iterable[ObservedJob], why: str) -> list[DeleteJob]:
    """Deletes the Jobs that are not being deleted yet."""
    return [DeleteJob(job.name, job.uid, why) for job in jobs if not job.deleting]


ENDS_THE_RUN = (ExitCode.CONFIGURATION, ExitCode.SAMPLE_FAILED)
NO_WORDS = "the process ended without saying why; see its log"


def report_of(run: Run, job: ObservedJob, steps: Collection[str]) -> Report | None:
    """The report of one of the steps that a Job went through, as its last Pod that ended well tells it."""
    reports = [
        pod.report
        for pod in _by_age(run, job)
        if pod.exit_code == 0 and pod.report is not None and pod.report.step in steps
    ]
    return reports[-1] if reports else None


def last_report(run: Run, job: ObservedJob) -> Report | None:
    """The report of the Pod that ended last and left one, however it ended."""
    reports = [pod.report for pod in _by_age(run, job) if pod.report is not None]
    return reports[-1] if reports else None


def why_ended(pod: ObservedPod) -> tuple[str, str]:
    """Reason and message of the run that a Pod ended."""
    message = (pod.report.message if pod.report else "") or NO_WORDS
    if pod.exit_code == ExitCode.SAMPLE_FAILED:
        return "SampleFailed", message
    return condition_reason(pod.report.reason if pod.report else "", "ConfigurationError"), message


def condition_reason(text: str, otherwise: str) -> str:
    """A text as the reason of a condition, which the API server wants as one word."""
    word = re.sub(r"[^A-Za-z0-9]", "", text)[:64]
    return word if word[:1].isalpha() else otherwise


def _by_age(run: Run, job: ObservedJob) -> list[ObservedPod]:
    return sorted(run.context.pods_of(job), key=lambda pod: (pod.finished_at or pod.created_at, pod.name))


ENDED_BY_A_POD = "PodFailurePolicy"
SHARDS_LOST = "FailedIndexes"
FIRST_SHARD_LOST = "MaxFailedIndexesExceeded"
"""Reason of a Job under ``onSampleError: Fail``, which ends with its first lost shard."""


def failed(run: Run, reason: str, message: str) -> PartialDecision:
    """The run has failed: whatever still runs is ended."""
    live = [job for job in run.context.observed.jobs if not job.ended]
    stages = [counts.at_rest(stage, "Failed") for stage in run.memory.stages]
    run = run.remembering(stages=stages, finished_at=text_of(run.now))
    return run.decided(ObjectState("Failed", reason, message), *deletions(live, f"the run has failed: {reason}"))


def complete(run: Run, reason: str, message: str) -> PartialDecision:
    """The run is complete."""
    run = run.remembering(finished_at=text_of(run.now), stage="")
    return run.decided(ObjectState("Complete", reason, message))


def goes_on(run: Run, job: ObservedJob) -> bool:
    """Whether the chain continues after a stage whose Job failed: it may lose shards."""
    return job.reason == SHARDS_LOST and run.plan.spec.execution.on_sample_error == "Continue"


def step_failed(run: Run, job: ObservedJob, otherwise: str) -> PartialDecision:
    """The Job of a step failed in a way that ends the run; the Pod that knows why says why, else it is `otherwise`."""
    # The Pod whose exit code ended the whole Job; the Job's own message is never parsed for it.
    pod = next((each for each in run.context.pods_of(job) if each.exit_code in ENDS_THE_RUN), None)
    in_use = _in_use(run, job, pod.report if pod is not None else None)
    if in_use is not None:
        return in_use
    if job.reason == ENDED_BY_A_POD and (pod is None or pod.report is None):
        waiting = waiting_for_report(run, job)
        if waiting is not None:
            return waiting
    if pod is not None:
        if pod.report is not None and pod.report.failures:
            run = run.remembering(failures=notes(pod.report)["failures"])
        return failed(run, *why_ended(pod))
    report = last_report(run, job)
    told = ": ".join(text for text in (report.reason, report.message) if text) if report else ""
    message = f"{job.step}: {told or job.message or NO_WORDS}"
    if job.step in run.stages:
        return failed(run, condition_reason(job.reason, otherwise), message)
    return _repeated(run, job, otherwise, message)


def _repeated(run: Run, job: ObservedJob, otherwise: str, message: str) -> PartialDecision:
    """A CPU step failed, most probably because something is away for a moment. It runs again after a pause."""
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
    """Waits while somebody else has the output's lock; None when nobody has.

    Once the lock may have ended, the pass begins again at its index: the other holder may have written whatever this
    run has read. Without the report, whose Pod may go before that time, the wait is the longest one.
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
    return begin_again(run, OUTPUT_IN_USE, state.message, restarts=run.memory.restarts + 1)


def _may_repeat(run: Run) -> bool:
    return run.memory.restarts < run.settings.repeats and run.plan.spec.execution.retries.passes > 0


def report_lost(run: Run, job: ObservedJob) -> PartialDecision:
    """A CPU Job is complete but its report is gone with its Pod: it runs again, which changes nothing."""
    waiting = waiting_for_report(run, job)
    if waiting is not None:
        return waiting
    restarts = run.memory.restarts + 1
    if restarts > run.settings.restarts:
        return failed(run, "ReportLost", f"{job.step}: the report was lost {restarts} times before it could be read")
    run = run.remembering(restarts=restarts, stage=job.step)
    message = f"the report of {job.step} was gone before it could be read; it runs again"
    phase: Phase = "Publishing" if job.step == PUBLISH_STEP else "Indexing"
    return run.decided(ObjectState(phase, "ReportLost", message), DeleteJob(job.name, job.uid, message))


def job_lost(run: Run, stage: str) -> PartialDecision:
    """The Job of a stage that ran is gone: the pass begins again, and its index finds what is left to do."""
    restarts = run.memory.restarts + 1
    if restarts > run.settings.restarts:
        return failed(run, "JobLost", f"{stage}: Jobs of this run were deleted by somebody else {restarts} times")
    message = f"the Job of {stage} is gone; the pass begins again at its index"
    return begin_again(run, "JobLost", message, restarts=restarts)


def planned(run: Run) -> PartialDecision:
    """Everything is counted, and nothing more was asked for."""
    todo = {stage.name: stage.indexed.todo for stage in run.memory.stages if stage.indexed.todo}
    listed = ", ".join(f"{name} {count}" for name, count in todo.items()) or "nothing"
    stages = [run.plan.stage(name) for name in todo if asks_for_gpu(run.plan, name)]
    hours = sum(todo[stage.name] * stage.seconds_per_sample * max(1, stage.gpus) for stage in stages) / 3600
    estimate = f"; about {hours:.1f} GPU hours" if hours >= 0.05 else ""
    return complete(run, "Planned", f"planned only; samples to make: {listed}{estimate}")


def published(run: Run, report: Report) -> PartialDecision:
    """Publish has read every record: the run is complete, has failed, or goes over the job once more."""
    stages = counts.published_stages(run.memory.stages, report.stages)
    outputs = {name: cut(report.outputs.get(name, ""), 1024) for name in Outputs.model_fields}
    publication = Publication(hash=report.publication, chosen=report.chosen)
    run = run.remembering(stages=stages, outputs=Outputs(**outputs), publication=publication, **notes(report))
    missing = sum(each.missing for each in report.stages.values())
    if missing:
        return _missing(run, report, missing)
    if report.awaiting:
        return _awaiting(run, report.awaiting)
    if not _any_done(run.plan, report):
        return failed(run, "NoSampleDone", _none_done(report))
    lost = report.rejected + sum(each.failed for each in report.stages.values())
    if lost:
        return complete(
            run, "SamplesFailed", f"{lost} of {report.samples + report.rejected} samples failed{_why(report)}"
        )
    return complete(run, "Succeeded", f"all {report.samples} samples are done")


def notes(report: Report) -> dict[str, Any]:
    """Failures, warnings and rejected inputs of a report as the status keeps them."""
    failures = [
        FailureStatus(
            sample=cut(each.sample, 100),
            stage=each.stage[:32],
            reason=cut(each.reason, 64),
            message=cut(each.message, 200),
        )
        for each in report.failures[:20]
    ]
    warnings = [cut(text, 200) for text in report.warnings[:10]]
    return {"failures": failures, "warnings": warnings, "rejected": report.rejected}


def _missing(run: Run, report: Report, missing: int) -> PartialDecision:
    passes = run.memory.passes
    if end_of_pass(report, passes, run.plan.spec.execution.retries.passes) == "finished":
        text = f"{missing} samples have no result after {passes} passes; the logs tell why their processes ended"
        return failed(run, "SamplesMissing", text)
    text = f"{missing} samples have no result; pass {passes + 1} goes over them"
    return begin_again(run, "NextPass", text, passes=passes + 1)


def _awaiting(run: Run, awaiting: int) -> PartialDecision:
    """All is done that does not need a person's choice: no Pod is left, and nothing runs until a retry."""
    owner = run.context.observed.object
    command = f"scenewright pick {owner.kind.lower()}/{owner.name} -n {owner.namespace}"
    text = f"{awaiting} {'sample waits' if awaiting == 1 else 'samples wait'} for a choice: `{command}`"
    return run.remembering(stage="").decided(ObjectState("Waiting", AWAITING, text))


def _any_done(plan: Plan, report: Report) -> bool:
    """Whether a sample is done in a stage that no other stage that may run reads."""
    selected = [plan.stage(name) for name in plan.selected]
    read = {name for stage in selected for name in stage.upstream()}
    ends = [stage.name for stage in selected if stage.name not in read]
    return any(report.stages.get(name, StageCounts()).done for name in ends)


def _none_done(report: Report) -> str:
    total = report.samples + report.rejected
    if total:
        return f"none of {total} samples is done{_why(report)}"
    return report.nothing_left() or "the input holds no sample"


def _why(report: Report) -> str:
    """The first failure in words."""
    if not report.failures:
        return ""
    first = report.failures[0]
    why = ": ".join(text for text in (first.reason, first.message) if text)
    return f"; {first.sample} in {first.stage}: {why}"


def waiting_for_report(run: Run, job: ObservedJob) -> PartialDecision | None:
    """Leaves everything as it was while the news of the Pod may still be on their way; None when there are none.

    When they are late they are asked for: that a watch has stalled is no reason to run a step again.
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
