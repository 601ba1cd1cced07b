"""The operator's configuration: a YAML file that is validated at startup."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from scenewright.api.raw import Json
from scenewright.api.uris import normalised
from scenewright.execution.jobs import PodSettings
from scenewright.planning.lab import check_lab_defaults
from scenewright.planning.problems import SpecError
from scenewright.planning.validation import problems_of
from scenewright_stages.contract.params import Params

CONFIG_ENVIRONMENT = "SCENEWRIGHT_OPERATOR_CONFIG"
IDENTITY_ENVIRONMENT = "POD_NAME"


class LeaseSettings(Params):
    """The lease that keeps a second operator from acting."""

    namespace: str = Field(default="scenewright-system", description="Namespace of the lease.")
    name: str = Field(default="scenewright-operator", description="Its name; one for each set of watched namespaces.")
    seconds: int = Field(default=30, ge=5, le=300, description="Time until it expires without a renewal.")


class ProgressSettings(Params):
    """The endpoint to which stage Pods push their counters."""

    enabled: bool = Field(default=True, description="Whether the endpoint listens.")
    url: str = Field(default="", description="Address for Pods; empty: no progress while a stage runs.")
    audience: str = Field(default="scenewright-progress", description="Audience of the Pods' tokens.")
    port: int = Field(default=8081, ge=0, le=65535, description="Port that it listens on; 0 for none.")


class OperatorSettings(Params):
    """All settings in the operator's ConfigMap."""

    watch_namespaces: list[str] = Field(default_factory=list, description="Namespaces to serve; all when empty.")
    watch_namespace_selector: str = Field(
        default="",
        max_length=500,
        description="Label selector of the namespaces to serve instead of their names; needs rights in the whole "
        "cluster.",
    )
    workers: int = Field(default=16, ge=1, le=256, description="Objects that are reconciled in parallel.")
    resync_seconds: float = Field(default=240.0, ge=5.0, description="Mean time between two sweeps.")
    metrics_port: int = Field(default=8080, ge=0, le=65535, description="Port of metrics and health; 0 for none.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "text"] = "json"
    events: bool = Field(default=True, description="Whether Kubernetes Events are posted.")
    status_seconds: float = Field(default=10.0, ge=0.0, description="Minimum time between progress-only writes.")
    metrics_max_objects: int = Field(default=200, ge=0, le=5000, description="Objects named in metrics, at most.")
    lease: LeaseSettings = LeaseSettings()
    progress: ProgressSettings = ProgressSettings()
    pods: PodSettings = PodSettings()
    kueue: bool = Field(default=False, description="Whether to watch the Workloads of objects admitted as a whole.")
    autoscaler: bool = Field(
        default=False,
        description="Whether nodes are added for Pods that no node has room for: then no such Pod fails a run.",
    )
    outputs: dict[str, list[str]] = Field(
        default_factory=dict,
        description='Prefixes below which the objects of a namespace may write, by namespace; "*" stands for all '
        "namespaces without an entry. Empty: anywhere.",
    )
    webhook_url: str = Field(
        default="",
        max_length=1024,
        pattern=r"^$|^https?://",
        description="Where a CloudEvent is posted when an object ends, or rests until a person acts; empty: nowhere.",
    )
    max_objects: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict,
        description='Objects of a namespace that run at once, by namespace; "*" stands for all without an entry.',
    )
    priorities: dict[str, int] = Field(
        default_factory=dict, description="Order in which they start, by PriorityClass; higher numbers first."
    )
    defaults: Json = Field(
        default_factory=dict, description="Values for what objects leave out of their spec: see planning.lab."
    )

    def pod_settings(self) -> PodSettings:
        """The Pod settings, with the operator's own progress endpoint unless they name another one."""
        target = self.pods.progress
        if target.url or not (self.progress.enabled and self.progress.url):
            return self.pods
        ours = target.model_copy(update={"url": self.progress.url, "audience": self.progress.audience})
        return self.pods.model_copy(update={"progress": ours})

    @model_validator(mode="after")
    def _places_are_plain(self) -> OperatorSettings:
        if any("*" in name or "," in name for name in self.watch_namespaces):
            raise ValueError("watchNamespaces takes names, not patterns")
        if self.watch_namespaces and self.watch_namespace_selector:
            raise ValueError("give watchNamespaces or watchNamespaceSelector, not both")
        unusable = [prefix for prefixes in self.outputs.values() for prefix in prefixes if not normalised(prefix)]
        if unusable:
            raise ValueError(f"outputs takes URIs such as s3://scenes/lab, not {unusable[0]!r}")
        return self


def load_settings(path: str | None = None) -> OperatorSettings:
    """Settings from a file, by default the one named in the environment; without a file, all defaults.

    Raises:
        SpecError: unknown fields or wrong values, each with its path.
    """
    found = path or os.environ.get(CONFIG_ENVIRONMENT, "")
    content = yaml.safe_load(Path(found).read_text()) if found else {}
    try:
        settings = OperatorSettings.model_validate(content or {})
    except ValidationError as error:
        raise SpecError(problems_of(error, OperatorSettings)) from None
    check_lab_defaults(settings.defaults)
    return settings


def identity() -> str:
    """Holder of the lease: the Pod's name, so that a restarted container keeps it; outside a Pod, host and process."""
    return os.environ.get(IDENTITY_ENVIRONMENT) or f"{socket.gethostname()}-{os.getpid()}"
