"""Rules for the steps of a run, shared by the local executor and the operator.

A run is one or more passes over the chain: index, every selected stage that has work, publish. Index may be folded into
the first stage's process, and publish into the last one's, but never so that a GPU waits for them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

from scenewright.api.status import Forecast
from scenewright.planning import backends
from scenewright.planning.plan import Plan
from scenewright_stages.contract.reports import AWAITING, Report, UnitCounts

EndOfPass = Literal["again", "finished"]
RESTARTS_WITH_STATE = 100


def folds_index(plan: Plan, *, needs_gpu: bool, earlier_runs: int) -> bool:
    """Whether the first stage's process also does the index, in a cluster.

    Only if the input is a single file, so that the worklist is certainly one shard. A stage that needs a GPU does so
    only in an object's first run, when there is almost certainly work for it.
    """
    if not plan.selected or not plan.input_uri.lower().endswith(plan.pipeline.input.suffixes or ("\0",)):
        return False
    return earlier_runs == 0 or not needs_gpu


def folds_publish(later: Collection[str], shards: int, *, needs_gpu: bool) -> bool:
    """Whether a stage's process also publishes.

    Args:
        later: the stages that may still run after it.
        shards: of the stage; a shard among several cannot know that all work is done.
        needs_gpu: whether the stage holds a GPU, which must not wait for publish.
    """
    return not later and shards == 1 and not needs_gpu


def forecast_of(plan: Plan, todo: Mapping[str, int], shards: Mapping[str, int], gpus: Mapping[str, int]) -> Forecast:
    """What a pass will take by the catalogue's seconds per sample: loading of models and waits are not in it.

    Args:
        todo: samples to process, by stage.
        shards: of the stages; at most `maxParallelism` of them run at once.
        gpus: that each Pod of a stage holds; 0 on a CPU.
    """
    working = [stage for stage in plan.chain if todo.get(stage.name)]
    held = sum(todo[stage.name] * stage.pod.seconds_per_sample * gpus.get(stage.name, 0) for stage in working)
    wall = 0.0
    for stage in working:
        count = max(1, shards.get(stage.name, 1))
        waves = ceil(count / max(1, min(count, plan.spec.execution.max_parallelism)))
        wall += waves * ceil(todo[stage.name] / count) * stage.pod.seconds_per_sample
    return Forecast(gpu_hours=round(held / 3600, 3), wall_seconds=round(wall, 1))


def needs_models(plan: Plan) -> bool:
    """Whether the run needs a step that fills the model cache with the weights of the selected stages."""
    if not plan.spec.models.cache_claim:
        return False
    selected = [stage for stage in plan.chain if stage.name in plan.selected]
    return any(backends.revisions(selected).values())


def restarts_of(plan: Plan, step: str) -> int:
    """How often a shard's process is restarted after it died.

    A stage that keeps state may run for weeks and lose a process every few hours. The worker limits the deaths since
    the last saved state; this limit is for processes that die before any of our code runs.
    """
    given = plan.retries.per_shard
    keeps_state = any(stage.keeps_state for stage in plan.chain if stage.name == step)
    return max(given, RESTARTS_WITH_STATE) if keeps_state else given


def end_of_pass(report: Report, passes_done: int, allowed: int) -> EndOfPass:
    """Whether another pass follows: samples are missing, and fewer than `allowed` extra passes were used."""
    missing = sum(counts.missing for counts in report.stages.values())
    return "again" if missing and passes_done <= allowed else "finished"


Reason = Literal["Complete", "SamplesMissing", "AwaitingSelection", "SamplesFailed", "NothingLeft"]


@dataclass(frozen=True)
class EndOfRun:
    """What publish's report says about a run: the same for the local executor and for the operator.

    Attributes:
        reason: CamelCase.
        message: one sentence with the numbers; of a complete run the number of done samples.
    """

    reason: Reason
    message: str


def end_of_run(report: Report) -> EndOfRun:
    """How a run ended that completed publish.

    What a rule left out, or what was not selected, is no failure. What failed below a unit that is done without it is
    one: somebody has to look at it.
    """
    units = report.counted()
    missing = sum(counts.missing for counts in report.stages.values())
    if missing:
        return EndOfRun("SamplesMissing", f"{missing} samples have no result")
    if report.awaiting:
        return EndOfRun(AWAITING, f"{report.awaiting} {'sample waits' if report.awaiting == 1 else 'samples wait'}")
    if failed := failures_text(report, units):
        return EndOfRun("SamplesFailed", failed)
    if empty_reason := report.empty_reason():
        return EndOfRun("NothingLeft", empty_reason)
    return EndOfRun("Complete", ends_text(units))


def failures_text(report: Report, units: UnitCounts) -> str:
    """What failed, with numbers that are never of two levels; empty if nothing did."""
    if units.failed:
        refused = f", {_refused(report)}" if report.rejected and report.samples == units.total else ""
        return f"{units.failed} of {units.total} samples failed{refused}"
    below = [f"{counts.failed} of {counts.total} in {name}" for name, counts in report.stages.items() if counts.failed]
    if below:
        return f"{', '.join(below)} failed, and {units.done} of {units.total} samples are done without them"
    return _refused(report) if report.rejected else ""


def _refused(report: Report) -> str:
    return f"{report.rejected} {'input was' if report.rejected == 1 else 'inputs were'} refused"


def ends_text(units: UnitCounts) -> str:
    """``4 samples done, 1 failed, 2 rejected, 1 waiting, 3 not selected``: the numbers that are not zero."""
    numbers = (
        (units.failed, "failed"),
        (units.rejected, "rejected"),
        (units.waiting, "waiting"),
        (units.not_selected, "not selected"),
        (units.missing, "missing"),
    )
    done = f"{units.done} {'sample' if units.done == 1 else 'samples'} done"
    return ", ".join([done, *(f"{number} {word}" for number, word in numbers if number)])
