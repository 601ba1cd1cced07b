"""Models that a job may use, and where its Pods run."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator
from pydantic.alias_generators import to_snake

from scenewright.api import patterns
from scenewright.api.affinity import affinity_problem
from scenewright.api.patterns import resource_name
from scenewright.api.raw import Json
from scenewright_stages.contract.params import Params, Rule

LabelValue = Annotated[str, Field(max_length=63, pattern=patterns.LABEL_VALUE)]


def label_keys(field: str, alias: str) -> Rule:
    """Keys of a map cannot have a pattern of their own."""
    return Rule(
        alias,
        f"!has(self.{alias}) || self.{alias}.all(key, key.matches('{patterns.LABEL_KEY}'))",
        "every key must be a label key such as example.com/team: an optional DNS name and at most 63 letters, digits, "
        "dashes, dots and underscores",
        lambda block: all(re.match(patterns.LABEL_KEY, key) for key in getattr(block, field)),
        ({alias: {"two words": "a"}},),
    )


def each_once(alias: str, key: str, example: Json) -> Rule:
    """No two members of a list have the same key: Kubernetes would refuse the Pod."""
    field, name = to_snake(alias), to_snake(key)
    return Rule(
        alias,
        f"!has(self.{alias}) || self.{alias}.all(one, self.{alias}.exists_one(other, other.{key} == one.{key}))",
        f"every member must have a {key} of its own",
        lambda block: len({getattr(each, name) for each in getattr(block, field)}) == len(getattr(block, field)),
        ({alias: [example, example]},),
    )


class Models(Params):
    """Where model weights come from and which licences are accepted."""

    cache_claim: str = resource_name(
        "PersistentVolumeClaim that holds the weights. The local CLI reads the folder of SCENEWRIGHT_MODELS instead."
    )
    token_secret_name: str = resource_name("Secret with the key HF_TOKEN, for gated weights.")
    accept_licenses: list[Annotated[str, Field(max_length=64)]] = Field(
        default_factory=list,
        max_length=32,
        description="Licences of weights that are accepted, by name, such as flux-1-dev-non-commercial "
        "(`scenewright models` lists them).",
    )
    policy: Literal["any", "permissive"] | None = Field(
        default=None,
        description="permissive: only weights whose licence allows commercial use. Every backend that the spec leaves "
        "at its default becomes the best permitted one (`scenewright models --policy permissive` lists them), and the "
        "spec is refused where there is none. Unset or any: whatever backends and acceptLicenses say.",
    )


class Toleration(Params):
    """A toleration as in a Pod."""

    key: str = Field(
        default="",
        max_length=316,
        pattern=patterns.OPTIONAL_LABEL_KEY,
        description="Taint key; every key when empty.",
    )
    operator: Literal["Exists", "Equal"] = Field(default="Equal", description="How value is compared.")
    value: str = Field(default="", max_length=63, pattern=patterns.LABEL_VALUE, description="Taint value.")
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = Field(
        default="", description="Taint effect; every effect when empty."
    )
    toleration_seconds: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="How long NoExecute is tolerated, in seconds."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "value",
            "self.operator != 'Exists' || self.value == ''",
            "must be empty with operator Exists, which tolerates every value",
            lambda block: block.operator != "Exists" or not block.value,
            ({"key": "gpu", "operator": "Exists", "value": "yes"},),
        ),
        Rule(
            "operator",
            "self.key != '' || self.operator == 'Exists'",
            "must be Exists without a key",
            lambda block: bool(block.key) or block.operator == "Exists",
            ({"value": "yes"}, {}),
        ),
        Rule(
            "effect",
            "!has(self.tolerationSeconds) || self.effect == 'NoExecute'",
            "must be NoExecute with tolerationSeconds",
            lambda block: block.toleration_seconds is None or block.effect == "NoExecute",
            ({"key": "spot", "tolerationSeconds": 5},),
        ),
    )


class ResourceClaim(Params):
    """A claim of dynamic resource allocation as in a Pod; the stage's container uses it."""

    name: str = Field(max_length=63, pattern=patterns.OBJECT_NAME, description="Name of the claim inside the Pod.")
    resource_claim_name: str = resource_name("An existing ResourceClaim.")
    resource_claim_template_name: str = resource_name("A ResourceClaimTemplate of which each Pod gets its own claim.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "resourceClaimName",
            "(self.resourceClaimName != '') != (self.resourceClaimTemplateName != '')",
            "exactly one of resourceClaimName and resourceClaimTemplateName is needed",
            lambda block: bool(block.resource_claim_name) != bool(block.resource_claim_template_name),
            ({"name": "gpu"},),
        ),
    )


class LocalObjectReference(Params):
    """An object of the same namespace."""

    name: str = Field(max_length=253, pattern=patterns.OPTIONAL_RESOURCE_NAME, description="Its name.")


class Scheduling(Params):
    """Where Pods run and in which queue they wait; ignored by the local CLI."""

    queue_name: str = resource_name("Kueue LocalQueue of the GPU stages.")
    cpu_queue_name: str = resource_name("Kueue LocalQueue of the CPU stages.")
    admission: Literal["Stage", "Object"] | None = Field(
        default=None,
        description="What Kueue admits at once: each stage, as when unset, or the object, which then holds its quota "
        "from its first to its last stage with a GPU.",
    )
    priority_class_name: str = resource_name("PriorityClass of all Pods.")
    node_selector: dict[str, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Labels that a node must have."
    )
    tolerations: list[Toleration] = Field(default_factory=list, max_length=32, description="Taints that are tolerated.")
    affinity: Json = Field(default_factory=dict, description="Affinity as in a Pod.")
    runtime_class_name: str = resource_name("RuntimeClass, such as nvidia.")
    resource_claims: list[ResourceClaim] = Field(
        default_factory=list, max_length=8, description="Resource claims (dynamic allocation) instead of gpuResource."
    )
    gpu_resource: str = Field(
        default="nvidia.com/gpu",
        max_length=317,
        pattern=patterns.EXTENDED_RESOURCE,
        description="Extended resource that stands for one GPU.",
    )
    image_pull_secrets: list[LocalObjectReference] = Field(
        default_factory=list, max_length=16, description="Secrets for private registries."
    )
    labels: dict[str, LabelValue] = Field(
        default_factory=dict, max_length=32, description="Further labels of Jobs and Pods, such as kueue.x-k8s.io/..."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        label_keys("node_selector", "nodeSelector"),
        label_keys("labels", "labels"),
        each_once("resourceClaims", "name", {"name": "gpu", "resourceClaimName": "a"}),
    )

    @field_validator("affinity")
    @classmethod
    def _affinity_is_known(cls, value: Json) -> Json:
        if problem := affinity_problem(value):
            raise ValueError(problem)
        return value
