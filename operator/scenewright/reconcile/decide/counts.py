"""Counts samples, shards and GPU time of each stage for the status.

The index gives the totals, pushed progress and finished Pods add to them, and publish replaces them in the end.
Counts never fall within a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from scenewright.api.raw import Json
from scenewright.api.status import IndexedCounts, SampleCounts, ShardCounts, StageStatus, UnitStatus
from scenewright.planning.plan import Plan
from scenewright.reconcile.cache.observation import ObservedJob, ObservedPod
from scenewright.reconcile.decide.context import text_of
from scenewright.telemetry.progress.store import StepProgress
from scenewright_stages.contract.reports import Report, StageCounts

STARTED = ("Waiting", "Running")
"""States of a stage whose Job was requested and has not ended."""


def indexed_stages(plan: Plan, report: Report) -> list[StageStatus]:
    """The stages as the index found them, in the order of the chain."""
    found = {stage.name: report.stages.get(stage.name, StageCounts()) for stage in plan.chain}
    return [
        StageStatus(
            name=name,
            state="Pending" if counts.shards else "UpToDate" if name in plan.selected else "NotSelected",
            indexed=IndexedCounts(todo=counts.todo, **_ends(counts)),
            samples=SampleCounts(total=counts.total, **_ends(counts)),
            shards=ShardCounts(total=counts.shards),
        )
        for name, counts in found.items()
    ]


def progressed(
    stage: StageStatus, job: ObservedJob, pods: Iterable[ObservedPod], progress: StepProgress | None, gpus: int
) -> StageStatus:
    """The stage updated from its Job, Pods and pushed progress; counts never fall within a pass.

    `gpus` is the number of GPUs that each of its Pods holds, resource claims included.

    GPU time, rate and ETA change only together with samples, shards or numbers: they alone cause no status write.
    """
    pods = list(pods)
    # Ignore counters that a Job of an earlier pass pushed.
    is_current = progress is not None and progress.at is not None and progress.at >= job.created_at
    pushed = progress if is_current else None
    samples = _samples(stage, pods, pushed)
    shards = _shards(stage, job, pods)
    started = [pod.started_at for pod in pods if pod.started_at is not None]
    known = stage.started_at or (text_of(min(started)) if started else "")
    numbers = dict(pushed.numbers) if pushed is not None and pushed.numbers else stage.numbers
    state = "Running" if known else "Waiting"
    update: Json = {
        "state": state,
        "samples": samples,
        "shards": shards,
        "numbers": numbers,
        "started_at": known,
    }
    if (samples, shards, numbers) != (stage.samples, stage.shards, stage.numbers):
        rate = pushed.samples_per_minute if pushed is not None else stage.samples_per_minute
        update |= {**_gpu_times(stage, pods, pushed, gpus), "samples_per_minute": round(rate, 2)}
        update["eta"] = _eta(samples, pushed)
    return stage.model_copy(update=update)


def ended(stage: StageStatus, job: ObservedJob, pods: Iterable[ObservedPod], now: datetime, gpus: int) -> StageStatus:
    """The stage after its Job has ended. If every shard succeeded, every sample has a record."""
    pods = list(pods)
    latest = progressed(stage, job, pods, None, gpus)
    samples = latest.samples
    complete = job.ended == "Complete"
    if complete:
        samples = samples.model_copy(
            update={
                "done": max(
                    0, samples.total - samples.failed - samples.skipped - samples.awaiting - samples.not_selected
                )
            }
        )
    done = latest.shards.total if complete else latest.shards.done
    return latest.model_copy(
        update={
            "state": "Done" if complete or done else "Failed",
            "samples": samples,
            "shards": latest.shards.model_copy(
                update={"running": 0, "done": done, "failed": latest.shards.total - done}
            ),
            "finished_at": text_of(job.ended_at or now),
            **_gpu_times(latest, pods, None, gpus),
            "samples_per_minute": 0.0,
            "eta": "",
        }
    )


def stopped(stage: StageStatus, state: str = "Pending") -> StageStatus:
    """The stage after its unfinished Job was deleted."""
    if stage.state not in STARTED:
        return stage
    shards = stage.shards.model_copy(update={"running": 0})
    return stage.model_copy(update={"state": state, "shards": shards, "samples_per_minute": 0.0, "eta": ""})


def published_stages(stages: Iterable[StageStatus], counts: Mapping[str, StageCounts]) -> list[StageStatus]:
    """The stages with the final counts of publish, which read every record."""
    samples = {name: SampleCounts(total=each.total, **_ends(each)) for name, each in counts.items()}
    return [stage.model_copy(update={"samples": samples.get(stage.name, stage.samples)}) for stage in stages]


def unit_status(report: Report) -> UnitStatus:
    """How the units ended, by publish's report."""
    units = report.counted()
    return UnitStatus(**{name: getattr(units, name) for name in UnitStatus.model_fields})


def _ends(counts: StageCounts) -> dict[str, int]:
    return counts.model_dump(include={"done", "failed", "skipped", "rejected", "awaiting", "not_selected"})


def finished_of_all(stages: Iterable[StageStatus]) -> tuple[int, int, int]:
    """Finished samples, all samples, and failed samples, added up over the stages."""
    finished = total = failed = 0
    for stage in stages:
        samples = stage.samples
        finished += samples.done + samples.failed + samples.skipped
        # What is not selected is no part of this run.
        total += samples.total - samples.not_selected
        failed += samples.failed
    return min(finished, total), total, failed


def _samples(stage: StageStatus, pods: list[ObservedPod], progress: StepProgress | None) -> SampleCounts:
    """For each count the maximum of the status so far, pushed progress and the reports of finished Pods."""
    before, known = stage.indexed, stage.samples
    reported, pushed = _reported(stage.name, pods), progress or StepProgress()
    found: dict[str, int] = {}
    left = known.total
    # The counts must not exceed the total: the first ones win, `done` gets what is left.
    for name in ("failed", "skipped", "awaiting", "done"):
        ended = max(getattr(reported, name), getattr(pushed, name, 0))
        found[name] = min(left, max(getattr(known, name), getattr(before, name) + ended))
        left -= found[name]
    return SampleCounts(total=known.total, rejected=known.rejected, not_selected=known.not_selected, **found)


def _reported(stage: str, pods: list[ObservedPod]) -> StageCounts:
    """Sum of the reports of successful Pods, one per shard."""
    latest: dict[int, StageCounts] = {}
    for pod in pods:
        if pod.exit_code == 0 and pod.report is not None and stage in pod.report.stages:
            latest[pod.index] = pod.report.stages[stage]
    names = ("done", "failed", "skipped", "awaiting", "gpu_seconds")
    return StageCounts(**{name: sum(getattr(each, name) for each in latest.values()) for name in names})


def _shards(stage: StageStatus, job: ObservedJob, pods: list[ObservedPod]) -> ShardCounts:
    total = max(stage.shards.total, job.completions)
    done = min(total, max(job.completed_indexes, stage.shards.done))
    failed = min(total - done, job.failed_indexes)
    # A Pod that has succeeded is no longer ready, and its Job counts it a moment later: it does not vanish meanwhile.
    uncounted = max(0, len({pod.index for pod in pods if pod.exit_code == 0}) - job.completed_indexes)
    running = min(job.ready + uncounted, total - done - failed)
    return ShardCounts(total=total, running=running, done=done, failed=failed)


def _gpu_times(
    stage: StageStatus, pods: list[ObservedPod], progress: StepProgress | None, gpus: int
) -> dict[str, float]:
    """GPU time of ended Pods, or of all Pods as far as they pushed it. Time without a report does not count."""
    held = gpus * sum(
        max(0.0, (pod.finished_at - pod.started_at).total_seconds())
        for pod in pods
        if pod.started_at is not None and pod.finished_at is not None
    )
    pushed = progress or StepProgress()
    busy = max(stage.gpu_busy_seconds, pushed.busy_seconds, _reported(stage.name, pods).gpu_seconds)
    total = max(stage.gpu_seconds, held, pushed.busy_seconds + pushed.waiting_seconds, busy)
    return {"gpu_seconds": round(total, 1), "gpu_busy_seconds": round(busy, 1)}


def _eta(samples: SampleCounts, progress: StepProgress | None) -> str:
    if progress is None or progress.at is None or progress.samples_per_minute <= 0.0:
        return ""
    left = samples.total - samples.done - samples.failed - samples.skipped
    minutes = min(left / progress.samples_per_minute, 60.0 * 24 * 365)
    return text_of(progress.at + timedelta(minutes=minutes))
