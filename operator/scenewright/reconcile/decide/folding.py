"""What the steps of a run ask for."""

from __future__ import annotations

from scenewright.execution.jobs import PodSettings
from scenewright.execution.jobs.resources import needs_of
from scenewright.planning import backends
from scenewright.planning.plan import Plan

_SETTINGS = PodSettings()
"""What a stage asks for is in the plan alone."""


def asks_for_gpu(plan: Plan, stage: str) -> bool:
    """Whether a Pod of the stage asks for a GPU."""
    return needs_of(plan, stage, _SETTINGS).gpus > 0


def needs_models(plan: Plan) -> bool:
    """Whether a Job has to see to it that the model cache holds the weights of the stages that may run."""
    if not plan.spec.models.cache_claim:
        return False
    selected = [stage for stage in plan.chain if stage.name in plan.selected]
    return any(backends.revisions(selected).values())
