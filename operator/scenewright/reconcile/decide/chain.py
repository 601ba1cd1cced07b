"""Picks the next step of a run: models, index, each stage that has work, publish.

:func:`decide` calls :func:`proceed` for an object that has a run. One step runs at a time, each in its own Job unless
it is folded into another step's Job.
"""

from __future__ import annotations

from scenewright.api.status import StageStatus, UnitStatus
from scenewright.execution.jobs import CreateJob
from scenewright.execution.jobs.resources import asks_for_gpu
from scenewright.planning.protocol import folds_index, folds_publish, needs_models
from scenewright.reconcile.cache.observation import ObservedJob
from scenewright.reconcile.decide import admission, budget, counts, endings
from scenewright.reconcile.decide.context import ObjectState, PartialDecision, Run, seconds_between
from scenewright.reconcile.decide.endings import cleared, restart_run
from scenewright.reconcile.decide.starting import created, watched
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.task import INDEX_STEP, PUBLISH_STEP

MODELS_STEP = "models"


def proceed(run: Run) -> PartialDecision:
    """Moves the run forward as far as the observed Jobs and reports allow."""
    if run.memory.clearing:
        # The pass starts over at the index once all of its Jobs are gone.
        if run.jobs:
            return cleared(run, run.context.state_before)
        spent = budget.without_stages(run.plan, run.memory)
        run = run.remembering(clearing=False, stages=[], failures=[], warnings=[], rejected=0, spent=spent)
    if not run.memory.stages:
        return _models(run)
    if list(run.stages) != [stage.name for stage in run.plan.chain]:
        return restart_run(
            run, "PipelineChanged", "this version of the operator has different stages; the pass starts over"
        )
    return _stages(run)


def _models(run: Run) -> PartialDecision:
    """Fills the model cache in the first pass of a run, on a CPU."""
    first = run.plan.selected[0]
    skips_models = INDEX_STEP in run.jobs or first in run.jobs or run.memory.passes > 1 or run.memory.plan_only
    if skips_models or not needs_models(run.plan):
        return _index(run)
    doing = ObjectState("Indexing", "FillingModelCache", "a CPU Pod fills the model cache")
    job = run.jobs.get(MODELS_STEP)
    if job is None or job.deleting or not job.ended:
        return _running(run, MODELS_STEP, job, doing)
    if job.ended == "Failed":
        return endings.step_failed(run, job, "ModelsFailed")
    return _index(run)


def _index(run: Run) -> PartialDecision:
    """Lists and counts the samples, in the index Job or folded into the first stage's Job."""
    first = run.plan.selected[0]
    memory = run.memory
    earlier = memory.starts - 1 + (memory.passes - 1) + memory.restarts
    needs_gpu = asks_for_gpu(run.plan, first)
    # A quota for all stages, and a forecast before the first Pod with a GPU, need the counts of the index.
    counts_first = needs_gpu and (admission.needs_quota(run.plan, first) or run.plan.spec.execution.budget is not None)
    folds = not (memory.plan_only or counts_first) and folds_index(run.plan, needs_gpu=needs_gpu, earlier_runs=earlier)
    folded = INDEX_STEP not in run.jobs and (first in run.jobs or folds)
    step = first if folded else INDEX_STEP
    job = run.jobs.get(step)
    if job is None or job.deleting or not job.ended:
        doing = ObjectState("Indexing", "Indexing", "the input is listed and compared with existing results")
        return _running(run, step, job, doing, fold_index=folded)
    report = endings.last_report(run, job) if folded else endings.report_of(run, job, (INDEX_STEP,))
    is_complete = report is not None and all(stage.name in report.stages for stage in run.plan.chain)
    if report is not None and is_complete and (folded or job.ended == "Complete"):
        return _indexed(run, report, folded)
    if job.ended == "Failed":
        return endings.step_failed(run, job, "IndexFailed")
    return endings.report_lost(run, job)


def _indexed(run: Run, report: Report, folded: bool) -> PartialDecision:
    """Takes over the counts of the index and continues."""
    stages = counts.indexed_stages(run.plan, report)
    if folded:
        # The first stage's Job did the indexing: it exists and has one shard, whatever the counts say.
        position = [stage.name for stage in stages].index(run.plan.selected[0])
        shards = stages[position].shards.model_copy(update={"total": 1})
        stages[position] = stages[position].model_copy(update={"shards": shards, "state": "Pending"})
    run = run.remembering(stages=stages, samples=UnitStatus(), **endings.notes(report))
    run = run.remembering(forecast=budget.forecast(run))
    return endings.planned(run) if run.memory.plan_only else proceed(run)


def _stages(run: Run) -> PartialDecision:
    """Runs the first stage that has not ended, or publishes when all have."""
    for name in run.plan.selected:
        stage = run.stages[name]
        if stage.state in ("UpToDate", "NotSelected", "Done", "Failed"):
            continue
        job = run.jobs.get(name)
        if job is None and stage.state == "Running":
            return endings.job_lost(run, name)
        if job is None or job.deleting or not job.ended:
            return _stage_running(run, stage, job)
        pods = run.context.pods_of(job)
        goes_on = job.reason == endings.SHARDS_LOST and run.plan.spec.execution.on_sample_error == "Continue"
        if job.ended == "Failed" and not goes_on:
            seen = run.with_stage(counts.progressed(stage, job, pods, None, run.gpus_of(name)))
            return endings.step_failed(seen, job, "StageFailed")
        ended = run.with_stage(counts.ended(stage, job, pods, run.now, run.gpus_of(name)))
        if job.ended == "Complete" and _folds_publish(run, stage):
            report = endings.report_of(run, job, (PUBLISH_STEP,))
            if report is not None:
                return endings.published(ended, report)
            # Publish runs again if its report is lost with the stage's Pod.
            return endings.waiting_for_report(run, job) or _publish(ended)
        run = ended
    return _publish(run)


def _folds_publish(run: Run, stage: StageStatus) -> bool:
    left = [name for name in run.plan.selected if name != stage.name and run.stages[name].state == "Pending"]
    return folds_publish(left, stage.shards.total, needs_gpu=asks_for_gpu(run.plan, stage.name))


def _stage_running(run: Run, stage: StageStatus, job: ObservedJob | None) -> PartialDecision:
    """Creates or watches the stage's Job. Reports progress only once the Job is `progress_after` seconds old."""
    if stage.state == "Pending":
        stage = stage.model_copy(update={"state": "Waiting"})
    until_progress = 0.0
    if job is not None and not job.deleting:
        until_progress = run.settings.progress_after - seconds_between(job.started_at or job.created_at, run.now)
        if until_progress <= 0:
            progress = run.context.observed.progress.get(stage.name)
            stage = counts.progressed(stage, job, run.context.pods_of(job), progress, run.gpus_of(stage.name))
    shards = stage.shards.total
    text = f"{stage.name}: {stage.indexed.todo} samples in {shards} {'shards' if shards > 1 else 'shard'}"
    doing = ObjectState("Running", "RunningStage", text)
    fold = _folds_publish(run, stage)
    partial = _running(run.with_stage(stage), stage.name, job, doing, shards=shards, fold_publish=fold)
    return partial.also(again_after=until_progress) if until_progress > 0 else partial


def _publish(run: Run) -> PartialDecision:
    """Runs the publish Job, which writes the manifests and the final counts."""
    doing = ObjectState("Publishing", "Publishing", "manifests and report are being written")
    job = run.jobs.get(PUBLISH_STEP)
    if job is None or job.deleting or not job.ended:
        return _running(run, PUBLISH_STEP, job, doing)
    if job.ended == "Failed":
        return endings.step_failed(run, job, "PublishFailed")
    report = endings.report_of(run, job, (PUBLISH_STEP,))
    return endings.report_lost(run, job) if report is None else endings.published(run, report)


def _running(
    run: Run,
    step: str,
    job: ObservedJob | None,
    doing: ObjectState,
    shards: int = 1,
    fold_index: bool = False,
    fold_publish: bool = False,
) -> PartialDecision:
    """Creates the step's Job, waits for one that is being deleted, or watches the live one."""
    run = run.remembering(stage=step)
    needs_quota = admission.needs_quota(run.plan, step)
    if needs_quota:
        found = admission.obtained(run, doing)
        if isinstance(found, PartialDecision):
            return found
        run = found
    memory = run.memory
    create = CreateJob(
        step=step,
        run=memory.run,
        shards=shards,
        fold_index=fold_index,
        fold_publish=fold_publish,
        retry_failed=memory.retry_failed and memory.passes == 1,
        plan_only=memory.plan_only,
        resolved=run.plan.resolved,
        admission=memory.admission if needs_quota else None,
    )
    if job is None:
        return created(run, create, doing)
    if job.deleting:
        return run.decided(endings.held(run.context) or doing, again_after=run.settings.look_again)
    return watched(run, job, create, doing)
