"""Resource requests and limits of a step's container, from the plan, the configuration and ``stageOverrides``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

from scenewright.api.execution import ResourceRequirements
from scenewright.api.raw import Json
from scenewright.execution.jobs.settings import PodSettings
from scenewright.planning.plan import Plan
from scenewright_stages.contract.pipeline import Resources, StageSpec
from scenewright_stages.contract.task import INDEX_STEP, MODELS_STEP, PUBLISH_STEP

_FACTORS = {
    **{"n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18},
    **{"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60},
}


_DEFAULTS = PodSettings()


def number_of(quantity: str | int | float) -> float:
    """The value of a Kubernetes quantity in cores, bytes or pieces.

    Raises:
        ValueError: not a quantity.
    """
    text = str(quantity)
    suffix = next((suffix for suffix in sorted(_FACTORS, key=len, reverse=True) if text.endswith(suffix)), "")
    return float(text.removesuffix(suffix)) * _FACTORS.get(suffix, 1.0)


def cores(count: float) -> str:
    """CPU cores as a quantity; fractions in millicores."""
    return str(int(count)) if count == int(count) else f"{ceil(count * 1000)}m"


def gibibytes(count: float) -> str:
    """GiB as a quantity; fractions in MiB."""
    return f"{int(count)}Gi" if count == int(count) else f"{ceil(count * 1024)}Mi"


@dataclass(frozen=True)
class StepNeeds:
    """What one Pod of a step needs.

    Attributes:
        requests, limits: of the container.
        gpus: GPUs that it holds while it exists; 0 on a CPU.
        claims: names of its resource claims (dynamic resource allocation).
        scratch_gib: limit of its scratch space.
        gpu_memory_gib: peak GPU memory; 0 on a CPU.
    """

    requests: Mapping[str, str]
    limits: Mapping[str, str]
    gpus: int
    claims: tuple[str, ...]
    scratch_gib: float
    gpu_memory_gib: float = 0.0

    @property
    def threads(self) -> int:
        """Threads of numeric libraries: the CPU limit, or the request if there is no limit, rounded up."""
        return max(1, ceil(number_of(self.limits.get("cpu", self.requests["cpu"]))))

    def container_resources(self) -> Json:
        claims = {"claims": [{"name": name} for name in self.claims]} if self.claims else {}
        return {"requests": dict(self.requests), "limits": dict(self.limits), **claims}


def needs_of(plan: Plan, step: str, settings: PodSettings) -> StepNeeds:
    """The resources of one Pod of the step; only stages that the plan runs on GPUs get one."""
    if step in (MODELS_STEP, INDEX_STEP, PUBLISH_STEP):
        given = {MODELS_STEP: settings.models, INDEX_STEP: settings.index}.get(step, settings.publish)
        memory = gibibytes(given.memory_gib)
        return StepNeeds({"cpu": cores(given.cpu), "memory": memory}, {"memory": memory}, 0, (), given.scratch_gib)
    stage = plan.stage(step)
    override = plan.spec.execution.stage_overrides.get(step)
    return _of_stage(plan, stage, override.resources if override else ResourceRequirements())


def asks_for_gpu(plan: Plan, stage: str) -> bool:
    """Whether a Pod of the stage requests a GPU; this depends only on the plan."""
    return needs_of(plan, stage, _DEFAULTS).gpus > 0


def _of_stage(plan: Plan, stage: StageSpec, override: ResourceRequirements) -> StepNeeds:
    scheduling, resources = plan.spec.scheduling, stage.pod.resources
    requests, limits = _merged(resources, override)
    asked = {name: limits[name] for name in limits if _is_gpu(name, scheduling.gpu_resource)}
    gpus = int(sum(number_of(count) for count in asked.values())) if asked else stage.pod.gpus
    if not gpus:
        others = {name: limits[name] for name in limits if name not in asked}
        return StepNeeds(requests, others, 0, (), resources.scratch_gib)
    if scheduling.resource_claims:
        claims = tuple(claim.name for claim in scheduling.resource_claims)
        return StepNeeds(requests, limits, gpus, claims, resources.scratch_gib, resources.gpu_memory_gib)
    devices = asked or {scheduling.gpu_resource: str(gpus)}
    return StepNeeds(requests, {**limits, **devices}, gpus, (), resources.scratch_gib, resources.gpu_memory_gib)


def _is_gpu(name: str, gpu_resource: str) -> bool:
    """Whether a resource counts GPU devices (GPUs, shared GPUs, MIG slices), not their memory and the like."""
    domain, _, device = name.partition("/")
    same_domain = domain == gpu_resource.partition("/")[0]
    return name == gpu_resource or (same_domain and (device in ("gpu", "gpu.shared") or device.startswith("mig-")))


def _merged(stage: Resources, override: ResourceRequirements) -> tuple[dict[str, str], dict[str, str]]:
    """Requests and limits that the API server accepts: requests within limits, extended resources as limits."""
    given_requests = {name: str(value) for name, value in override.requests.items() if "/" not in name}
    extended = {name: value for name, value in override.requests.items() if "/" in name}
    limits = {name: str(value) for name, value in {**extended, **override.limits}.items()}
    memory = gibibytes(stage.memory_gib)
    requests = {"cpu": cores(stage.cpu), "memory": limits.get("memory", memory), **given_requests}
    limits.setdefault("memory", requests["memory"])
    for name in requests.keys() & limits.keys():
        if number_of(requests[name]) > number_of(limits[name]):
            requests[name] = limits[name]
    return requests, limits
