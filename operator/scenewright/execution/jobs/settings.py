"""The part of the operator's configuration that is about Pods."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from scenewright.api.raw import Json
from scenewright_stages.contract.params import Params

PROGRESS_AUDIENCE = "scenewright-progress"


class StepResources(Params):
    """Resources of a Pod of models, index or publish."""

    cpu: float = Field(default=1.0, gt=0.0, description="CPU cores that the scheduler reserves.")
    memory_gib: float = Field(default=2.0, gt=0.0, description="Memory in GiB, as request and limit.")
    scratch_gib: float = Field(default=4.0, gt=0.0, description="Maximum scratch space in GiB.")


class ProgressTarget(Params):
    """Where Pods push their counters."""

    url: str = Field(
        default="", max_length=1024, description="URL of the endpoint, or of its host; empty: Pods push nothing."
    )
    audience: str = Field(default=PROGRESS_AUDIENCE, min_length=1, description="Audience of the Pods' tokens.")
    token_seconds: int = Field(default=3600, ge=600, description="Lifetime of a token; the kubelet renews it in time.")


class ModelCacheSettings(Params):
    """How Pods use the claim of the model cache."""

    source: str = Field(
        default="",
        max_length=1024,
        description="Where the models step takes weights from: the URL of a mirror of the Hugging Face Hub, or "
        "file:///folder with repositories as <organisation>/<name>. Empty: the Hub.",
    )
    share_compiled: bool = Field(
        default=True,
        description="Keep compiled GPU kernels in the claim's folder `compile`, which stages may then write to. "
        "Images that objects name themselves never do. False for claims that are mounted read-only.",
    )


class PodSettings(Params):
    """Settings of all Pods."""

    images: dict[str, str] = Field(
        default_factory=dict,
        description="Image by name: `cpu` (models, index, publish and what needs no GPU), `gaussians`, `perception`, "
        "`diffusion`, and those of pipelines of your own.",
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: list[str] = Field(default_factory=list, description="In addition to those of the object.")
    job_ttl_seconds: int = Field(default=86_400, ge=0, description="Finished Jobs are deleted after this time.")
    models: StepResources = StepResources(cpu=1.0, memory_gib=2.0, scratch_gib=4.0)
    index: StepResources = StepResources(cpu=1.0, memory_gib=2.0, scratch_gib=4.0)
    publish: StepResources = StepResources(cpu=1.0, memory_gib=4.0, scratch_gib=16.0)
    shared_memory_gib: float = Field(default=1.0, gt=0.0, description="Size of /dev/shm; counts as memory.")
    scratch_storage_class: str = Field(
        default="", description="StorageClass of a volume for each Pod's scratch space; empty: the node's own disk."
    )
    user: int = Field(
        default=65532,
        ge=0,
        description="Numeric user and group of all processes; 0: the cluster gives them, as OpenShift does.",
    )
    grace_seconds: int = Field(default=30, ge=10, description="From SIGTERM to SIGKILL.")
    step_deadline_seconds: int = Field(
        default=86_400, ge=600, description="Longest lifetime of a Pod of models, index or publish."
    )
    storage_patience_seconds: int = Field(
        default=300, ge=0, le=86_400, description="How long a process waits for storage that does not answer."
    )
    sidecar_quit_urls: list[Annotated[str, Field(pattern=r"^http://(127\.0\.0\.1|localhost)(:[0-9]+)?/")]] = Field(
        default_factory=list,
        description="Where the worker posts at its end, so that injected containers end too: their own addresses.",
    )
    environment: dict[str, str] = Field(
        default_factory=dict, description="Extra variables of all Pods, such as proxy settings; ours override them."
    )
    node_selector: dict[str, str] = Field(default_factory=dict, description="The object's own entries override it.")
    tolerations: list[Json] = Field(default_factory=list, description="In addition to those of the object.")

    progress: ProgressTarget = ProgressTarget()
    model_cache: ModelCacheSettings = ModelCacheSettings()
