"""The parts of Jobs and Pods that :mod:`scenewright.reconcile.projection` reads, for a decoder that skips the rest.

Nine tenths of a Pod on a watch are its template and who manages which field of it. What is read is a plain dictionary
as before, with fewer keys.
"""

from __future__ import annotations

from typing import Any, TypedDict


class Metadata(TypedDict, total=False):
    """Of any object; a bookmark has its version alone."""

    name: str
    namespace: str
    uid: str
    resourceVersion: str
    creationTimestamp: str
    deletionTimestamp: str
    labels: dict[str, str]
    ownerReferences: list[dict[str, Any]]


class JobMetadata(Metadata, total=False):
    """Annotations say what the Job was made from; those of Pods are not read."""

    annotations: dict[str, str]


class JobSpec(TypedDict, total=False):
    """Without the template of its Pods."""

    completions: int
    parallelism: int
    suspend: bool


class JobShape(TypedDict, total=False):
    """What :func:`observed_job` reads."""

    metadata: JobMetadata
    spec: JobSpec
    status: dict[str, Any]


class PodSpec(TypedDict, total=False):
    """Without its containers, which are the largest part of a Pod."""

    nodeName: str


class ContainerState(TypedDict, total=False):
    """Of the whole of a container's status."""

    state: dict[str, Any]


class PodStatus(TypedDict, total=False):
    """Without addresses and images."""

    phase: str
    reason: str
    message: str
    conditions: list[dict[str, Any]]
    containerStatuses: list[ContainerState]
    initContainerStatuses: list[ContainerState]


class PodShape(TypedDict, total=False):
    """What :func:`observed_pod` reads."""

    metadata: Metadata
    spec: PodSpec
    status: PodStatus
