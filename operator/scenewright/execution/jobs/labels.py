"""Labels and annotations of the Jobs and Pods that the operator makes; nothing is copied from the object's metadata."""

from __future__ import annotations

from collections.abc import Mapping

PREFIX = "scenewright.io/"
MANAGED = f"{PREFIX}managed"
KIND = f"{PREFIX}kind"
OBJECT = f"{PREFIX}object"
OWNER_UID = f"{PREFIX}owner-uid"
STEP = f"{PREFIX}step"
RUN = f"{PREFIX}run"
WORK_HASH = f"{PREFIX}work-hash"
EGRESS = f"{PREFIX}egress"
"""Label of Pods that may reach a range of addresses besides the storage: the name by which the chart allows it."""
QUEUE = "kueue.x-k8s.io/queue-name"
GPU_MEMORY = f"{PREFIX}gpu-memory"
"""Annotation of a Pod with the GPU memory that it needs; Kubernetes has no resource for it."""
TEMPLATE = f"{PREFIX}template"
OUTPUT = f"{PREFIX}output"
HOSTS = f"{PREFIX}hosts"
GPUS = f"{PREFIX}gpus"
"""Annotations of Jobs: hash of what they were made from, where they write, folders there in which other objects may
publish, GPUs of one Pod."""

MANAGED_SELECTOR = f"{MANAGED}=true"
"""What informers select by."""

_RESERVED = (PREFIX, "batch.kubernetes.io/", "job-name", "controller-uid")
_MAXIMUM_VALUE = 63


def labels_of(kind: str, name: str, uid: str, step: str, run: str, work_hash: str) -> dict[str, str]:
    """The labels by which informers, people and dashboards find a Job and its Pods."""
    return {
        MANAGED: "true",
        KIND: kind,
        OBJECT: label_value(name),
        OWNER_UID: uid,
        STEP: step,
        RUN: run,
        WORK_HASH: work_hash,
    }


def with_own(own: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """The user's further labels (``scheduling.labels``) under ours, which they cannot change."""
    return {**{key: value for key, value in added.items() if not key.startswith(_RESERVED)}, **own}


def label_value(text: str) -> str:
    """The text as a label value: at most 63 characters that begin and end with a letter or digit."""
    kept = "".join(character if character.isalnum() or character in "-_." else "-" for character in text)
    return kept[:_MAXIMUM_VALUE].strip("-_.")
