"""Names, labels and annotations of the operator's Jobs and Pods.

Names are deterministic: the same step of the same work of the same object always has the same Job name, so creating it
twice is harmless. Nothing is copied from the object's metadata.
"""

from __future__ import annotations

import hashlib
import re

from scenewright.api.uris import normalised

MAXIMUM_INDEX_DIGITS = 4
"""A stage has at most 10,000 shards."""
MAXIMUM_LENGTH = 63 - 1 - MAXIMUM_INDEX_DIGITS
"""An Indexed Job's name plus ``-<index>`` is a host name: a DNS label of at most 63 characters."""
_OBJECT_LENGTH = 30
_STEP_LENGTH = 32
_LETTERS = {"SceneJob": "s", "DatasetJob": "d", "TuningRun": "t"}


def job_name(kind: str, object_name: str, uid: str, work_hash: str, step: str) -> str:
    """``<kind letter>-<object>-<8 hex of uid and work hash>-<step>``, at most 58 characters.

    The object's name is cut to 30 characters, or shorter if the step's name is long. The hash distinguishes objects
    with equal cut names, and an object from its successor of the same name.
    """
    digest = hashlib.blake2b(f"{uid}\0{work_hash}".encode(), digest_size=4).hexdigest()
    part = _label_part(step, _STEP_LENGTH)
    if part != step:
        part = f"{_label_part(step, _STEP_LENGTH - 9)}-{hashlib.blake2b(step.encode(), digest_size=4).hexdigest()}"
    tail = f"{digest}-{part}"
    room = min(_OBJECT_LENGTH, MAXIMUM_LENGTH - len(tail) - 3)
    return f"{_LETTERS[kind]}-{_label_part(object_name, room)}-{tail}"


def output_place(namespace: str, secret: str, uri: str) -> str:
    """Where an object writes, such as ``lab/lab-s3 s3://scenes/yard``; empty without a URI.

    The storage endpoint is in the Secret, which the operator cannot read. So equal URIs mean the same place only with
    the same Secret. Objects without a Secret share the cluster's endpoint.
    """
    plain = normalised(uri)
    return f"{namespace}/{secret} {plain}" if plain and secret else plain


def _label_part(text: str, length: int) -> str:
    """The text as part of a DNS label: lower-case letters, digits and inner dashes; ``x`` if nothing is left."""
    return re.sub(r"[^a-z0-9]", "-", text.lower())[:length].strip("-") or "x"


PREFIX = "scenewright.io/"
MANAGED = f"{PREFIX}managed"
KIND = f"{PREFIX}kind"
OBJECT = f"{PREFIX}object"
OWNER_UID = f"{PREFIX}owner-uid"
STEP = f"{PREFIX}step"
RUN = f"{PREFIX}run"
WORK_HASH = f"{PREFIX}work-hash"
EGRESS = f"{PREFIX}egress"
"""Label of Pods that may reach more than the storage; the chart's network policies select by its value."""
QUEUE = "kueue.x-k8s.io/queue-name"
GPU_MEMORY = f"{PREFIX}gpu-memory"
"""Annotation with the GPU memory that a Pod needs, for which Kubernetes has no resource."""
TEMPLATE = f"{PREFIX}template"
"""Annotation of Jobs: hash of the Pod template and queue."""

MANAGED_SELECTOR = f"{MANAGED}=true"
"""Label selector of the informers."""

RESERVED = (PREFIX, "batch.kubernetes.io/", "job-name", "controller-uid")
"""Prefixes of labels that ``scheduling.labels`` cannot set."""
_MAXIMUM_VALUE = 63


def labels_of(kind: str, name: str, uid: str, step: str, run: str, work_hash: str) -> dict[str, str]:
    """Labels by which informers, people and dashboards find a Job and its Pods."""
    return {
        MANAGED: "true",
        KIND: kind,
        OBJECT: label_value(name),
        OWNER_UID: uid,
        STEP: step,
        RUN: run,
        WORK_HASH: work_hash,
    }


def label_value(text: str) -> str:
    """The text as a valid label value: at most 63 characters, with a letter or digit at both ends."""
    kept = "".join(character if character.isalnum() or character in "-_." else "-" for character in text)
    return kept[:_MAXIMUM_VALUE].strip("-_.")
