"""What the steps of a run ask for, and which of them share a process."""

from __future__ import annotations

from scenewright.execution.jobs import PodSettings
from scenewright.execution.jobs.resources import needs_of
from scenewright.planning import backends
from scenewright.planning.plan import Plan

SINGLE_SHARD = 1
_SETTINGS = PodSettings()
"""What a stage asks for is in the plan alone."""


def folds_index(plan: Plan, earlier_runs: int) -> bool:
    """Whether the first stage's process indexes first.

    Only where the worklist is sure to be one shard: the input is a single file. A GPU is not asked for before it is
    known that there is work for it, unless the object is new and there most probably is.
    """
    if not plan.selected or not _is_single_object(plan):
        return False
    return earlier_runs == 0 or not asks_for_gpu(plan, plan.selected[0])


def folds_publish(plan: Plan, stage: str, last: bool, shards: int) -> bool:
    """Whether a stage's process publishes afterwards: one shard on a CPU, and nothing runs after it."""
    return last and shards == SINGLE_SHARD and not asks_for_gpu(plan, stage)


def asks_for_gpu(plan: Plan, stage: str) -> bool:
    """Whether a Pod of the stage asks for a GPU."""
    return needs_of(plan, stage, _SETTINGS).gpus > 0


def needs_models(plan: Plan) -> bool:
    """Whether a Job has to see to it that the model cache holds the weights of the stages that may run."""
    if not plan.spec.models.cache_claim:
        return False
    selected = [stage for stage in plan.chain if stage.name in plan.selected]
    return any(backends.revisions(selected).values())


def _is_single_object(plan: Plan) -> bool:
    return plan.input_uri.lower().endswith(plan.pipeline.input.suffixes)
