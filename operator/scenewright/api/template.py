"""``execution.template``: what an object or the lab adds to the Pods of all stages.

It has the form of a Pod template and is merged into the operator's own by names. What belongs to the operator is
declared too, so that both the API server and the planner refuse it with the reason.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, create_model

from scenewright.api import patterns
from scenewright.api.patterns import resource_name
from scenewright.api.raw import Json
from scenewright.api.scheduling import LabelValue, LocalObjectReference, each_once, label_keys
from scenewright_stages.contract.params import Params, Rule

RESERVED_ENVIRONMENT = (
    r"^(SCENEWRIGHT_.*|PYTHON.*|LD_.*|PATH|HOME|LANG|TMPDIR|XDG_(CACHE|CONFIG)_HOME|[A-Z]+_NUM_THREADS|"
    r"(NUMBA|TORCHINDUCTOR|TRITON)_CACHE_DIR|MPLCONFIGDIR|"
    r"HF_(HOME|HUB_(CACHE|OFFLINE|DISABLE_TELEMETRY)|TOKEN|TOKEN_PATH)|HUGGING_FACE_HUB_TOKEN|"
    r"AWS_(ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|PROFILE|CONFIG_FILE|SHARED_CREDENTIALS_FILE|CONTAINER_.*|"
    r"ROLE_ARN|WEB_IDENTITY_TOKEN_FILE)|(NVIDIA|CUDA)_VISIBLE_DEVICES)$"
)
"""Every variable that the operator sets, and those that decide which code runs and who it is."""
RESERVED_PATHS = (
    r"^/?$|^[^/]|//|(^|/)\.\.?(/|$)|^/(etc|opt|run|usr|usr/local|var|var/run)/?$|"
    r"^/(scratch|tmp|models|compiled|dev|proc|sys|bin|sbin|lib|lib64|usr/(local/)?(bin|sbin|lib|lib64)|"
    r"opt/scenewright|var/run/secrets|run/secrets|etc/scenewright)(/|$)"
)
"""Paths that the operator mounts, and where the system and the program lie."""
RESERVED_VOLUMES = ("scratch", "shared-memory", "models", "progress-token", "ca-bundle")
RESERVED_KEYS = (
    r"^(.*[.])?(scenewright[.]io|batch[.]kubernetes[.]io|kueue[.]x-k8s[.]io|security[.](alpha|beta)[.]kubernetes[.]io)/|"
    r"^(job-name|controller-uid)$"
)
_SOURCES = ("configMap", "secret", "emptyDir", "persistentVolumeClaim", "ephemeral", "csi", "downwardAPI")
_IDENTITY, _SECURITY = "decides the Pod's identity", "decides the Pod's security"
_PLACEMENT = "has a field of its own in spec.scheduling"
_OURS = "belongs to the operator"
_KEPT_OF_POD: dict[str, tuple[Any, str]] = {
    "serviceAccountName": (str, f"{_IDENTITY}: use spec.storage.serviceAccountName"),
    "automountServiceAccountToken": (bool, _IDENTITY),
    **dict.fromkeys(("hostNetwork", "hostPID", "hostIPC", "hostUsers"), (bool, _SECURITY)),
    "securityContext": (Json, _SECURITY),
    "initContainers": (list[Json], _SECURITY),
    **dict.fromkeys(("nodeSelector", "affinity"), (Json, _PLACEMENT)),
    **dict.fromkeys(("tolerations", "resourceClaims"), (list[Json], _PLACEMENT)),
    **dict.fromkeys(("runtimeClassName", "nodeName"), (str, _PLACEMENT)),
    "restartPolicy": (str, _OURS),
    **dict.fromkeys(("activeDeadlineSeconds", "terminationGracePeriodSeconds"), (int, _OURS)),
}
_KEPT_OF_CONTAINER: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("command", "args"), (list[str], "is the worker's: the operator starts it")),
    "image": (str, "use spec.execution.stageOverrides"),
    "resources": (Json, "use spec.execution.stageOverrides"),
    "securityContext": (Json, _SECURITY),
    "lifecycle": (Json, _OURS),
    "terminationMessagePath": (str, _OURS),
}


def _kept(name: str, kind: Any, why: str) -> tuple[Any, Rule]:
    """A field that exists only to be refused, and its rule."""
    limit = None if kind in (bool, int, Json) else 64
    item = Annotated[kind, Field(max_length=limit)] if limit else kind
    if kind == list[str]:
        item = Annotated[list[Annotated[str, Field(max_length=1024)]], Field(max_length=limit)]
    example = {str: "a", bool: True, int: 1, Json: {"a": "b"}, list[str]: ["a"], list[Json]: [{"a": "b"}]}[kind]
    message = f"cannot be set here: {why if why.startswith('use') else f'it {why}'}"
    rule = Rule(
        name,
        f"!has(self.{name})",
        message,
        lambda block: getattr(block, _python_name(name)) is None,
        ({name: example},),
    )
    return (item | None, Field(default=None, alias=name, description="Refused.")), rule


def _python_name(alias: str) -> str:
    return re.sub(r"([A-Z]+)", lambda match: f"_{match[1].lower()}", alias)


def _refusing(base: type[Params], kept: dict[str, tuple[Any, str]]) -> Any:
    """The block with the fields that it refuses."""
    made = {name: _kept(name, *each) for name, each in kept.items()}
    fields: Any = {_python_name(name): field for name, (field, _) in made.items()}
    model = create_model(base.__name__, __base__=base, __doc__=base.__doc__, **fields)
    model.rules = (*base.rules, *(rule for _, rule in made.values()))
    return model


def _names(field: str, alias: str, cel: str, message: str, holds: Any, example: Any) -> Rule:
    """A rule about every member of a list or map."""
    cel = f"!has(self.{alias}) || self.{alias}.all(each, {cel})"
    return Rule(alias, cel, message, lambda block: all(map(holds, getattr(block, field))), ({alias: example},))


class EnvironmentVariable(Params):
    """A variable as in a container."""

    name: str = Field(max_length=253, pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$", description="Its name.")
    value: str = Field(default="", max_length=4096, description="Its value.")
    value_from: Json | None = Field(default=None, description="A key of a ConfigMap or Secret, or a field of the Pod.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "value",
            "self.value == '' || !has(self.valueFrom)",
            "contradicts valueFrom: give one of them",
            lambda block: not block.value or block.value_from is None,
            ({"name": "A", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},),
        ),
    )


class EnvironmentSource(Params):
    """All keys of a ConfigMap; keys of Secrets are named one by one in env."""

    config_map_ref: LocalObjectReference
    prefix: str = Field(default="", max_length=253, description="Put before each name.")


class VolumeMount(Params):
    """A mount as in a container."""

    name: str = Field(max_length=63, pattern=patterns.OBJECT_NAME, description="Name of the volume.")
    mount_path: str = Field(max_length=1024, description="Absolute path in the container.")
    sub_path: str = Field(default="", max_length=1024, description="Path in the volume.")
    read_only: bool = Field(default=False, description="Whether it cannot be written to.")


class Volume(Params):
    """A volume as in a Pod; sources of the node, such as hostPath, and tokens of service accounts are refused."""

    name: str = Field(max_length=63, pattern=patterns.OBJECT_NAME, description="Its name.")
    config_map: Json | None = Field(default=None, description="As in a Pod.")
    secret: Json | None = Field(default=None, description="As in a Pod.")
    empty_dir: Json | None = Field(default=None, description="As in a Pod.")
    persistent_volume_claim: Json | None = Field(default=None, description="As in a Pod.")
    ephemeral: Json | None = Field(default=None, description="As in a Pod.")
    csi: Json | None = Field(default=None, description="As in a Pod.")
    downward_api: Json | None = Field(default=None, alias="downwardAPI", description="As in a Pod.")

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "name",
            f"{' + '.join(f'(has(self.{name}) ? 1 : 0)' for name in _SOURCES)} == 1",
            f"exactly one source is needed: {', '.join(_SOURCES)}",
            lambda block: len(block.model_fields_set - {"name"}) == 1,
            ({"name": "data"}, {"name": "data", "emptyDir": {}, "secret": {"secretName": "a"}}),
        ),
    )


class _Container(Params):
    """Additions to the worker's container."""

    name: Literal["worker"] = Field(default="worker", description="The only container.")
    env: list[EnvironmentVariable] = Field(default_factory=list, max_length=32, description="Further variables.")
    env_from: list[EnvironmentSource] = Field(default_factory=list, max_length=8, description="Further ConfigMaps.")
    volume_mounts: list[VolumeMount] = Field(default_factory=list, max_length=16, description="Further mounts.")

    rules: ClassVar[tuple[Rule, ...]] = (
        _names(
            "env",
            "env",
            f"!each.name.matches('{RESERVED_ENVIRONMENT.replace(chr(92), chr(92) * 2)}')",
            "variables of the operator, of the interpreter and of identities cannot be set",
            lambda each: not re.match(RESERVED_ENVIRONMENT, each.name),
            [{"name": "LD_PRELOAD", "value": "x"}],
        ),
        _names(
            "volume_mounts",
            "volumeMounts",
            f"!each.mountPath.matches('{RESERVED_PATHS.replace(chr(92), chr(92) * 2)}')",
            "mounts need absolute paths outside of those of the operator and the system",
            lambda each: not re.search(RESERVED_PATHS, each.mount_path),
            [{"name": "data", "mountPath": "/scratch/data"}],
        ),
        _names(
            "volume_mounts",
            "volumeMounts",
            f"!(each.name in {list(RESERVED_VOLUMES)})",
            f"the operator's own volumes cannot be mounted again: {', '.join(RESERVED_VOLUMES)}",
            lambda each: each.name not in RESERVED_VOLUMES,
            [{"name": "models", "mountPath": "/data"}],
        ),
        each_once("volumeMounts", "mountPath", {"name": "data", "mountPath": "/data"}),
    )


Container = _refusing(_Container, _KEPT_OF_CONTAINER)


class _PodSpec(Params):
    """Additions to the Pod."""

    containers: list[Container] = Field(  # type: ignore[valid-type]
        default_factory=list, max_length=1, description="Additions to the worker."
    )
    volumes: list[Volume] = Field(default_factory=list, max_length=16, description="Further volumes.")
    image_pull_secrets: list[LocalObjectReference] = Field(
        default_factory=list, max_length=16, description="Further Secrets for private registries."
    )
    priority_class_name: str = resource_name("PriorityClass of the Pods.")
    topology_spread_constraints: list[Json] = Field(default_factory=list, max_length=8, description="As in a Pod.")

    rules: ClassVar[tuple[Rule, ...]] = (
        _names(
            "volumes",
            "volumes",
            f"!(each.name in {list(RESERVED_VOLUMES)})",
            f"the operator's own volumes cannot be replaced: {', '.join(RESERVED_VOLUMES)}",
            lambda each: each.name not in RESERVED_VOLUMES,
            [{"name": "scratch", "emptyDir": {}}],
        ),
        each_once("volumes", "name", {"name": "data", "emptyDir": {}}),
    )


PodSpec = _refusing(_PodSpec, _KEPT_OF_POD)


def _free_keys(field: str) -> Rule:
    return _names(
        field,
        field,
        f"!each.matches('{RESERVED_KEYS}')",
        "keys of the operator, of Jobs, of Kueue and of the Pod's security cannot be set",
        lambda key: not re.match(RESERVED_KEYS, key),
        {"scenewright.io/run": "a"},
    )


class PodMetadata(Params):
    """Additions to the Pods' metadata."""

    labels: dict[str, LabelValue] = Field(default_factory=dict, max_length=32, description="Further labels.")
    annotations: dict[str, Annotated[str, Field(max_length=4096)]] = Field(
        default_factory=dict, max_length=32, description="Further annotations."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        label_keys("labels", "labels"),
        label_keys("annotations", "annotations"),
        _free_keys("labels"),
        _free_keys("annotations"),
    )


class CaBundle(Params):
    """Certificates of the lab's own authorities, for storage, model mirrors and proxies."""

    config_map: str = Field(max_length=253, pattern=patterns.OPTIONAL_RESOURCE_NAME, description="A ConfigMap.")
    key: str = Field(default="ca.crt", max_length=253, pattern=r"^[-._a-zA-Z0-9]+$", description="Its key.")


class PodTemplate(Params):
    """Additions to the Pods of all stages, merged by names; what the object says wins over the lab's defaults."""

    metadata: PodMetadata | None = None
    spec: PodSpec | None = None  # type: ignore[valid-type]
    ca_bundle: CaBundle | None = None


def together(lab: Any, own: Any) -> Any:
    """Two raw templates as one: objects are merged, lists of named members by their names; `own` wins."""
    if isinstance(lab, dict) and isinstance(own, dict):
        return {**lab, **{name: together(lab.get(name), value) for name, value in own.items()}}
    if isinstance(lab, list) and isinstance(own, list):
        named = {_name_of(each): each for each in lab}
        merged = {_name_of(each): together(named.get(_name_of(each)), each) for each in own}
        return [*{**named, **merged}.values()]
    return lab if own in (None, "") else own


def _name_of(member: Any) -> str:
    """What tells apart the members of a list: mounts may share a volume, so their path counts."""
    known = member if isinstance(member, dict) else {}
    return str(known.get("mountPath") or known.get("name") or member)
