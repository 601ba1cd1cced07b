"""Deterministic names, and the labels and annotations of the Jobs and Pods that the operator makes.

The same step of the same work of the same object is the same Job, however often it is made, and equal places that
objects write to have equal names, too. Nothing is copied from the object's metadata.
"""

from __future__ import annotations

import hashlib
import re
from posixpath import normpath

MAXIMUM_INDEX_DIGITS = 4
"""A stage has at most 10,000 shards."""
MAXIMUM_LENGTH = 63 - 1 - MAXIMUM_INDEX_DIGITS
"""An Indexed Job's name with ``-<index>`` is a host name, hence a DNS label of at most 63 characters."""
_OBJECT_LENGTH = 30
_STEP_LENGTH = 32
_LETTERS = {"SceneJob": "s", "DatasetJob": "d", "TuningRun": "t"}


def job_name(kind: str, object_name: str, uid: str, work_hash: str, step: str) -> str:
    """``<kind letter>-<object>-<8 hex of uid and work hash>-<step>``, at most 58 characters.

    The object's name is cut to 30 characters, and further where a long step's name needs the room; the hash tells
    objects apart whose names are cut alike, and one object from its successor of the same name.
    """
    digest = hashlib.blake2b(f"{uid}\0{work_hash}".encode(), digest_size=4).hexdigest()
    tail = f"{digest}-{_step_part(step)}"
    room = min(_OBJECT_LENGTH, MAXIMUM_LENGTH - len(tail) - 3)
    return f"{_LETTERS[kind]}-{_label_part(object_name, room)}-{tail}"


def output_place(namespace: str, secret: str, uri: str) -> str:
    """The place that an object writes to, such as ``lab/lab-s3 s3://scenes/yard``; empty without a URI.

    The storage's endpoint is in the Secret, which the operator cannot read, so equal URIs are the same place only under
    the same Secret. Objects without a Secret share the endpoint that is configured for the cluster.
    """
    plain = normalised(uri)
    return f"{namespace}/{secret} {plain}" if plain and secret else plain


def normalised(uri: str) -> str:
    """The URI without doubled and trailing slashes and dots; equal places give equal text."""
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return ""
    # The first segment is a bucket, of which normpath knows nothing, so `..` cannot leave it.
    bucket, _, path = rest.partition("/")
    inside = normpath("/" + path).lstrip("/")
    return f"{scheme.lower()}://{bucket}/{inside}".rstrip("/")


def _step_part(step: str) -> str:
    plain = _label_part(step, _STEP_LENGTH)
    if plain == step:
        return step
    digest = hashlib.blake2b(step.encode(), digest_size=4).hexdigest()
    return f"{_label_part(step, _STEP_LENGTH - 9)}-{digest}"


def _label_part(text: str, length: int) -> str:
    """Lower-case letters, digits and dashes, with a letter or digit at both ends; ``x`` when nothing is left."""
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

RESERVED = (PREFIX, "batch.kubernetes.io/", "job-name", "controller-uid")
"""How the labels begin that ``scheduling.labels`` cannot set."""
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


def label_value(text: str) -> str:
    """The text as a label value: at most 63 characters that begin and end with a letter or digit."""
    kept = "".join(character if character.isalnum() or character in "-_." else "-" for character in text)
    return kept[:_MAXIMUM_VALUE].strip("-_.")
