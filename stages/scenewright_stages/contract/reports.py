"""What a process reports: one report per step, and the counters that it pushes while it works.

Reports are compact JSON that fits a Kubernetes termination message. Pushes hold absolute counters, so losing one does
no harm.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import ConfigDict, Field, FiniteFloat

from scenewright_stages.contract.layout import SUMMARY
from scenewright_stages.contract.params import Params

MAXIMUM_REPORT_BYTES = 3500
"""The kubelet keeps the last 4,096 bytes of a termination message; a cut head would not parse."""
OUTPUT_IN_USE = "OutputInUse"
"""Reason of a report: another holder has the output's lock, until `retry_at` at the earliest."""
AWAITING: Final = "AwaitingSelection"
"""Reason of a sample, and of a run, that a person's answer would let go on."""
PROGRAM_FAULT = "ProgramFault"
"""Reason of a process that ended by a mistake in the code, which no repetition mends."""
PACKAGE_MISSING = "PackageMissing"
"""Reason of a process that lacks a Python package."""
MAXIMUM_FAILURES = 20
MAXIMUM_FAILURE_BYTES = 150
MAXIMUM_WARNINGS = 10
MAXIMUM_WARNING_BYTES = 200
MAXIMUM_CHOSEN = 12
LEFT_OUT = re.compile(rf"[0-9]+ more warnings? in {re.escape(SUMMARY)}")
"""What :meth:`Report.to_bytes` says in place of the warnings that do not fit."""


class UnitCounts(Params):
    """How many units of a publication ended in which way; see :mod:`scenewright_stages.contract.results`."""

    total: int = 0
    done: int = 0
    failed: int = 0
    rejected: int = 0
    waiting: int = 0
    not_selected: int = 0
    missing: int = 0

    def of(self, end: str) -> int:
        """The number of units that ended so."""
        number: int = getattr(self, end.replace(" ", "_"))
        return number


class StageCounts(Params):
    """Sample counts of one stage: the total, how many will run, and the states of the rest.

    Attributes:
        skipped: samples that a rule left out, or whose upstream has no result.
        rejected: those of them that a rule of this stage left out.
        not_selected: samples that are not up to date in a stage that this run did not select.
        wall_seconds: from start to end of its processes, the union over shards and runs.
        seconds: in the samples' code, summed over all samples.
    """

    total: int = 0
    todo: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    rejected: int = 0
    missing: int = 0
    awaiting: int = 0
    not_selected: int = 0
    shards: int = 0
    wall_seconds: float = 0.0
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
    """What the index, a stage's shard or publish reports to the process that started it.

    Attributes:
        samples: how many there are; of publish, its units.
        units: how publish's units ended; empty in other reports.
        rejected: inputs that the index could not take.
        publication: hash of all reproducible published files; set by publish only.
        chosen: ``path@hash``, by name, of published files that other objects may refer to; the first twelve only.
        retry_at: when a retry may succeed, in seconds since the epoch; 0 if unknown.
    """

    step: str
    run: str = ""
    samples: int = 0
    units: UnitCounts = Field(default_factory=UnitCounts)
    rejected: int = 0
    stages: dict[str, StageCounts] = Field(default_factory=dict)
    failures: list[Failure] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    outputs: dict[str, str] = Field(default_factory=dict)
    publication: str = ""
    chosen: dict[str, str] = Field(default_factory=dict)
    reason: str = ""
    message: str = ""
    retry_at: float = 0.0

    @property
    def awaiting(self) -> int:
        """Samples that wait for a person's answer, counted in the first stage that asks."""
        return next((counts.awaiting for counts in self.stages.values() if counts.awaiting), 0)

    def counted(self) -> UnitCounts:
        """How publish's units ended; of a worker of an older version, which did not say so, from its other counts."""
        if self.units.total:
            return self.units
        stages = self.stages.values()
        total = self.samples + self.rejected
        if not total:
            rejected = max((counts.skipped for counts in stages), default=0)
            return UnitCounts(total=rejected, rejected=rejected)
        missing = min(total, sum(counts.missing for counts in stages))
        failed = min(total - missing, self.rejected + sum(counts.failed for counts in stages))
        waiting = min(total - missing - failed, self.awaiting)
        return UnitCounts(
            total=total, done=total - missing - failed - waiting, failed=failed, waiting=waiting, missing=missing
        )

    def empty_reason(self) -> str:
        """The message if the pipeline's rules left out every unit, naming the rules; empty otherwise."""
        units = self.counted()
        if not units.total or units.rejected < units.total:
            return ""
        rules = [warning for warning in self.warnings if " samples rejected" in warning]
        return "; ".join(["nothing is left", *rules[:1]])

    def to_bytes(self) -> bytes:
        """At most 3,500 bytes of UTF-8 JSON.

        Messages are cut first. Then warnings, failures, outputs, the message and stages are dropped, in this order.
        Warnings that are left out are counted in the last line: the summary has them all.
        """
        data = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        data["failures"] = [_cut_failure(failure) for failure in data.get("failures", [])[:MAXIMUM_FAILURES]]
        warnings = data.get("warnings", [])
        shown = len(warnings) if len(warnings) <= MAXIMUM_WARNINGS else MAXIMUM_WARNINGS - 1
        data["warnings"] = _first(warnings, shown, 1000)
        data["outputs"] = {name: cut(text, 300) for name, text in data.get("outputs", {}).items()}
        data["chosen"] = dict(list(data.get("chosen", {}).items())[:MAXIMUM_CHOSEN])
        data["message"] = cut(data.get("message", ""), 600)
        encoded = _encode(data)
        if len(encoded) > MAXIMUM_REPORT_BYTES:
            data["warnings"] = _first(warnings, shown, MAXIMUM_WARNING_BYTES)
            encoded = _encode(data)
        while len(encoded) > MAXIMUM_REPORT_BYTES and shown:
            shown -= 1
            data["warnings"] = _first(warnings, shown, MAXIMUM_WARNING_BYTES)
            encoded = _encode(data)
        while len(encoded) > MAXIMUM_REPORT_BYTES and _drop_one(data):
            encoded = _encode(data)
        return encoded

    @classmethod
    def from_bytes(cls, data: bytes) -> Report:
        """The inverse of :meth:`to_bytes`."""
        return cls.model_validate_json(data)


def cut(text: str, limit: int) -> str:
    """The text cut at a character boundary to at most `limit` bytes of UTF-8, with an ellipsis.

    Control characters become spaces, because JSON needs six bytes for each.
    """
    plain = "".join(character if character.isprintable() else " " for character in text)
    encoded = plain.encode(errors="replace")
    if len(encoded) <= limit:
        return plain
    return encoded[: limit - 3].decode(errors="ignore") + "…"


def _first(warnings: Sequence[str], shown: int, limit: int) -> list[str]:
    """The first warnings, each cut to `limit` bytes, and a line that counts the others."""
    left = len(warnings) - shown
    lines = [cut(text, limit) for text in warnings[:shown]]
    return [*lines, f"{left} more warning{'s' * (left != 1)} in {SUMMARY}"] if left else lines


def _encode(data: dict[str, Any]) -> bytes:
    kept = {name: value for name, value in data.items() if value not in ("", [], {})}
    return json.dumps(kept, separators=(",", ":"), ensure_ascii=False).encode()


def _drop_one(data: dict[str, Any]) -> bool:
    """Drops the least important remaining item; False if nothing more may be dropped."""
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


PROGRESS_URL_ENVIRONMENT = "SCENEWRIGHT_PROGRESS_URL"
PROGRESS_TOKEN_ENVIRONMENT = "SCENEWRIGHT_PROGRESS_TOKEN"
PROGRESS_PATH = "/v1/progress"
"""Of the endpoint; a URL that names only the host means it."""
MAXIMUM_PUSH_BYTES = 4096
MAXIMUM_NUMBERS = 16
NUMBER_NAME = r"^[a-z][a-z0-9_]{0,31}$"
NumberName = Annotated[str, Field(pattern=NUMBER_NAME)]

_MAXIMUM_COUNT = 1_000_000_000


class PushedSamples(Params):
    """Samples of the shard's worklist that have ended, in whichever attempt."""

    total: int = Field(default=0, ge=0, le=_MAXIMUM_COUNT)
    done: int = Field(default=0, ge=0, le=_MAXIMUM_COUNT)
    failed: int = Field(default=0, ge=0, le=_MAXIMUM_COUNT)
    skipped: int = Field(default=0, ge=0, le=_MAXIMUM_COUNT)


class Push(Params):
    """Counters of one process since its start; fields of newer versions are ignored.

    Attributes:
        run, step, shard: what the process works on.
        phase: what it does now.
        samples: of the shard, including earlier attempts.
        ended_here: samples whose code ended in this process.
        busy_seconds: GPU time while a sample's code ran (seconds times GPUs).
        waiting_seconds: GPU time while none ran: loading, waiting for inputs, storing the last outputs.
        load_seconds: time until the stage was ready for its first sample; 0 until then.
        numbers: metrics that the stage's code reports while it runs, such as a loss; at most 16.
    """

    model_config = ConfigDict(extra="ignore")

    run: str = Field(max_length=64)
    step: str = Field(max_length=63)
    shard: int = Field(ge=0, le=_MAXIMUM_COUNT)
    phase: str = Field(default="", max_length=32)
    samples: PushedSamples = PushedSamples()
    ended_here: int = Field(default=0, ge=0, le=_MAXIMUM_COUNT)
    busy_seconds: float = Field(default=0.0, ge=0.0, le=1e9)
    waiting_seconds: float = Field(default=0.0, ge=0.0, le=1e9)
    load_seconds: float = Field(default=0.0, ge=0.0, le=1e9)
    numbers: dict[NumberName, FiniteFloat] = Field(default_factory=dict, max_length=MAXIMUM_NUMBERS)
