"""The protocol of a run, shared by the local executor and the operator: which steps run, in which order and where.

A run is one or more passes over the chain: index, every selected stage that has something to do, publish. The index
step may share the first stage's process and publish the last one's; a GPU never waits for either.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from scenewright.planning import backends
from scenewright.planning.plan import Plan
from scenewright_stages.contract.reports import Report, StageCounts

EndOfPass = Literal["again", "finished"]
RESTARTS_WITH_STATE = 100


def folds_index(plan: Plan, *, needs_gpu: bool, earlier_runs: int) -> bool:
    """Whether the first stage's process indexes first, in a cluster.

    Only where the worklist is sure to be one shard: the input is a single file. A GPU is not requested before it is
    known that there is work for it, unless the object is new and there most probably is.
    """
    if not plan.selected or not plan.input_uri.lower().endswith(plan.pipeline.input.suffixes or ("\0",)):
        return False
    return earlier_runs == 0 or not needs_gpu


def folds_publish(later: Collection[str], shards: int, *, needs_gpu: bool) -> bool:
    """Whether a stage's process publishes afterwards.

    Args:
        later: the stages that may still run after it.
        shards: of the stage; only one can know that all is done.
        needs_gpu: a GPU does not wait for publish.
    """
    return not later and shards == 1 and not needs_gpu


def needs_models(plan: Plan) -> bool:
    """Whether a step has to see to it that the model cache holds the weights of the stages that may run."""
    if not plan.spec.models.cache_claim:
        return False
    selected = [stage for stage in plan.chain if stage.name in plan.selected]
    return any(backends.revisions(selected).values())


def has_work(counts: StageCounts) -> bool:
    """Whether a stage has anything to do in this pass."""
    return counts.todo > 0


def restarts_of(plan: Plan, step: str) -> int:
    """How often the process of a shard is started again after it died.

    A stage that keeps state may lose a process every few hours for weeks. What bounds it is the worker, which counts
    only the deaths since the last saved state; the limit here is for processes that die before any of our code runs.
    """
    given = plan.retries.per_shard
    keeps_state = any(stage.keeps_state for stage in plan.chain if stage.name == step)
    return max(given, RESTARTS_WITH_STATE) if keeps_state else given


def end_of_pass(report: Report, passes_done: int, allowed: int) -> EndOfPass:
    """Whether another pass follows: samples are missing, and passes are left of those `allowed` after the first."""
    missing = sum(counts.missing for counts in report.stages.values())
    return "again" if missing and passes_done <= allowed else "finished"
