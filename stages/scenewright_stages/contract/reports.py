"""Reports of a step: compact JSON that fits a Kubernetes termination message."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field

from scenewright_stages.contract.params import Params

MAXIMUM_REPORT_BYTES = 3500
"""The kubelet keeps the last 4,096 bytes of a termination message; a cut head would not parse."""
OUTPUT_IN_USE = "OutputInUse"
"""Reason of a report: another holder has the output's lock, until `retry_at` at the earliest."""
MAXIMUM_FAILURES = 20
MAXIMUM_FAILURE_BYTES = 150


class StageCounts(Params):
    """Samples of one stage: all of them, what is to run, and how the rest stands."""

    total: int = 0
    todo: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    missing: int = 0
    shards: int = 0
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    gpu_wait_seconds: float = 0.0


class Failure(Params):
    """One failure as status shows it."""

    sample: str
    stage: str
    reason: str
    message: str = ""


class Report(Params):
    """What the index, a stage's shard or publish tells whoever started it.

    Attributes:
        retry_at: seconds since the epoch at which what stood in the way may be gone; 0 where it has no such time.
    """

    step: str
    run: str = ""
    samples: int = 0
    rejected: int = 0
    stages: dict[str, StageCounts] = Field(default_factory=dict)
    failures: list[Failure] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    outputs: dict[str, str] = Field(default_factory=dict)
    reason: str = ""
    message: str = ""
    retry_at: float = 0.0

    def nothing_left(self) -> str:
        """In words, that rules of a pipeline left out every sample, and which; empty when it is not so.

        Such samples are in neither `samples` nor `rejected`; a warning, the first one, tells of them.
        """
        others = self.samples or self.rejected
        if others or not any(counts.skipped for counts in self.stages.values()):
            return ""
        return "; ".join(["nothing is left", *self.warnings[:1]])

    def to_bytes(self) -> bytes:
        """At most 3,500 bytes of UTF-8 JSON.

        Messages are cut first; then warnings, failures, outputs, the message, and stages are dropped in this order.
        """
        data = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        data["failures"] = [_cut_failure(failure) for failure in data.get("failures", [])[:MAXIMUM_FAILURES]]
        data["warnings"] = [cut(text, 200) for text in data.get("warnings", [])[:10]]
        data["outputs"] = {name: cut(text, 300) for name, text in data.get("outputs", {}).items()}
        data["message"] = cut(data.get("message", ""), 600)
        encoded = _encode(data)
        while len(encoded) > MAXIMUM_REPORT_BYTES and _drop_one(data):
            encoded = _encode(data)
        return encoded

    @classmethod
    def from_bytes(cls, data: bytes) -> Report:
        """The inverse of :meth:`to_bytes`."""
        return cls.model_validate_json(data)


def cut(text: str, limit: int) -> str:
    """The text cut to at most `limit` bytes of UTF-8, at a character's boundary, marked by an ellipsis.

    Control characters, which JSON writes with six bytes each, become spaces.
    """
    plain = "".join(character if character.isprintable() else " " for character in text)
    encoded = plain.encode(errors="replace")
    if len(encoded) <= limit:
        return plain
    return encoded[: limit - 3].decode(errors="ignore") + "…"


def _encode(data: dict[str, Any]) -> bytes:
    kept = {name: value for name, value in data.items() if value not in ("", [], {})}
    return json.dumps(kept, separators=(",", ":"), ensure_ascii=False).encode()


def _drop_one(data: dict[str, Any]) -> bool:
    """Drops the least important thing that is left; False when nothing may be dropped any more."""
    for name in ("warnings", "failures", "outputs", "message", "stages"):
        value = data.get(name)
        if isinstance(value, list) and value:
            value.pop()
            return True
        if value:
            data[name] = type(value)()
            return True
    return False


def _cut_failure(failure: dict[str, Any]) -> dict[str, Any]:
    fixed = len(_encode({**failure, "message": ""}))
    sample = cut(failure["sample"], 60)
    return {
        **failure,
        "sample": sample,
        "message": cut(failure.get("message", ""), max(12, MAXIMUM_FAILURE_BYTES - fixed)),
    }
