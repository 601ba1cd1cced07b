"""Builds Jobs of small objects for the tests of the builders."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from typing import Any

from scenewright.api.names import API_VERSION
from scenewright.execution.jobs import PodSettings, job_manifest
from scenewright.planning.plan import Plan, make_plan
from scenewright_stages.contract.pipeline import IMAGES, Resources, SecretKey
from scenewright_stages.contract.task import ENVIRONMENT, Task

UID = "6f1d3c52-7a0e-4f2b-9d3e-0a1b2c3d4e5f"
SPEC: dict[str, Any] = {
    "input": {"uri": "s3://photos/in"},
    "output": {"uri": "s3://scenes/out"},
    "vistadream": {"mode": "coarse"},
}
ON_GPU: dict[str, Any] = {
    "vistadream": {"mode": "coarse", "outpaint": {"backend": "flux-fill"}},
    "models": {"acceptLicenses": ["flux-1-dev-non-commercial"], "cacheClaim": "weights", "tokenSecretName": "hub"},
}
SETTINGS = PodSettings(
    images={name: f"registry.example/{name}:0.1" for name in IMAGES},
    progress={"url": "http://scenewright.platform.svc:8081/v1/progress"},  # type: ignore[arg-type]
)
TOGETHER: dict[str, Any] = {
    "processes": 4,
    "resources": Resources(gpus=2, gpu_memory_gib=20.0),
    "keeps_state": True,
    "secret": SecretKey("language-model", "token", "LANGUAGE_MODEL_TOKEN"),
    "egress": "language-model",
}
"""What a stage may declare besides its files."""


@dataclass(frozen=True)
class Owned:
    """The identity of an object."""

    kind: str = "SceneJob"
    namespace: str = "lab"
    name: str = "courtyard"
    uid: str = UID


@dataclass(frozen=True)
class Create:
    """The operator's request for a Job."""

    step: str
    run: str = "0badcafe-1"
    shards: int = 1
    fold_index: bool = False
    fold_publish: bool = False
    retry_failed: bool = False
    plan_only: bool = False


def plan_of(name: str = "courtyard", metadata: dict[str, Any] | None = None, **spec: Any) -> Plan:
    """The plan of a SceneJob with these changes of its spec."""
    document = {
        "apiVersion": API_VERSION,
        "kind": "SceneJob",
        "metadata": {"name": name, "namespace": "lab", **(metadata or {})},
        "spec": {**copy.deepcopy(SPEC), **spec},
    }
    return make_plan(document)


def job_of(create: Create, settings: PodSettings = SETTINGS, owner: Owned | None = None, **spec: Any) -> dict[str, Any]:
    """The Job of a step of a SceneJob with these changes of its spec."""
    owner = owner or Owned()
    return job_manifest(plan_of(owner.name, **spec), owner, create, settings)


def stage_job_of(
    step: str,
    settings: PodSettings = SETTINGS,
    owner: Owned | None = None,
    shards: int = 1,
    keeps_state: bool = False,
    **pod: Any,
) -> dict[str, Any]:
    """The Job of a stage of the same SceneJob whose Pod differs in these fields."""
    plan = plan_of(storage={"secretName": "lab-s3"})
    chain = tuple(
        replace(stage, keeps_state=keeps_state, pod=replace(stage.pod, **pod)) if stage.name == step else stage
        for stage in plan.chain
    )
    return job_manifest(replace(plan, chain=chain), owner or Owned(), Create(step, shards=shards), settings)


def pod_of(job: dict[str, Any]) -> dict[str, Any]:
    """The Pod's spec."""
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


def container_of(job: dict[str, Any]) -> dict[str, Any]:
    """The one container."""
    (found,) = pod_of(job)["containers"]
    assert isinstance(found, dict)
    return found


def literal_environment(job: dict[str, Any]) -> dict[str, str]:
    """Variables with values, as the process sees them: expanded as the kubelet does."""
    found: dict[str, str] = {}
    for entry in container_of(job)["env"]:
        if "value" in entry:
            found[entry["name"]] = expanded(entry["value"], found)
    return found


def referenced_environment(job: dict[str, Any]) -> dict[str, Any]:
    """Variables whose values come from elsewhere."""
    return {entry["name"]: entry["valueFrom"] for entry in container_of(job)["env"] if "valueFrom" in entry}


def task_in(job: dict[str, Any]) -> Task:
    """The worker's task as it arrives."""
    return Task.model_validate(json.loads(literal_environment(job)[ENVIRONMENT]))


def expanded(text: str, known: dict[str, str]) -> str:
    """``$(NAME)`` replaced by variables that came before, ``$$`` by ``$``: Kubernetes' rules for ``env``."""
    result, position = "", 0
    while position < len(text):
        if text[position] != "$" or position + 1 == len(text):
            result, position = result + text[position], position + 1
        elif text[position + 1] == "$":
            result, position = result + "$", position + 2
        elif text[position + 1] == "(" and ")" in text[position:]:
            end = text.index(")", position)
            name = text[position + 2 : end]
            result, position = result + known.get(name, f"$({name})"), end + 1
        else:
            result, position = result + text[position : position + 2], position + 2
    return result
