"""The input of the Job builders, in one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from scenewright.api.status import Admission
from scenewright.execution.jobs.resources import StepNeeds
from scenewright.execution.jobs.settings import PodSettings
from scenewright.planning.backends import revisions
from scenewright.planning.inputs import ResolvedInput
from scenewright.planning.plan import Plan
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.task import INDEX_STEP, MODELS_STEP, PUBLISH_STEP


class Owner(Protocol):
    """The object that owns a Job."""

    @property
    def kind(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def uid(self) -> str: ...


@dataclass(frozen=True)
class CreateJob:
    """Create the Job of one step of a run. On 409, owner uid and work hash decide whether the existing Job is ours.

    Attributes:
        step: ``models``, ``index``, a stage's name or ``publish``.
        fold_index, fold_publish, retry_failed, plan_only: as in the worker's task.
        resolved: the run's named inputs as they were at its start.
        admission: where Kueue has admitted the object, if it was admitted as a whole.
    """

    step: str
    run: str
    shards: int = 1
    fold_index: bool = False
    fold_publish: bool = False
    retry_failed: bool = False
    plan_only: bool = False
    resolved: Mapping[str, ResolvedInput] = field(default_factory=dict, hash=False)
    admission: Admission | None = field(default=None, hash=False)

    def applied_to(self, plan: Plan) -> Plan:
        """The plan with the inputs and the placement of this Job."""
        plan = plan.with_resolved(self.resolved)
        if self.admission is None:
            return plan
        return plan.placed(self.admission.node_selector, self.admission.tolerations)


@dataclass(frozen=True)
class JobRequest:
    """One Job to build; `needs` are the resources of one of its Pods."""

    plan: Plan
    owner: Owner
    create: CreateJob
    needs: StepNeeds
    settings: PodSettings

    @property
    def is_stage(self) -> bool:
        return self.create.step not in (MODELS_STEP, INDEX_STEP, PUBLISH_STEP)

    @property
    def stage(self) -> StageSpec | None:
        """The step's stage; None for models, index and publish."""
        return self.plan.stage(self.create.step) if self.is_stage else None

    @property
    def processes(self) -> int:
        """Number of processes in the Pod that work together."""
        return self.stage.pod.processes if self.stage else 1

    @property
    def fills_models(self) -> bool:
        return self.create.step == MODELS_STEP

    @property
    def model_claim(self) -> str:
        """The claim of the model cache if the step reads or fills it, else empty."""
        runs_weights = self.stage is not None and any(revisions([self.stage]).values())
        return self.plan.spec.models.cache_claim if self.fills_models or runs_weights else ""

    @property
    def shares_compiled(self) -> bool:
        """Whether compiled GPU kernels are kept in the claim; never with an object's own image."""
        ours = not self.own_image and self.settings.model_cache.share_compiled
        return bool(self.model_claim and self.needs.gpus and ours)

    @property
    def own_image(self) -> str:
        """The image that the object sets for this stage; usually empty."""
        override = self.plan.spec.execution.stage_overrides.get(self.create.step)
        return override.image if override is not None else ""
