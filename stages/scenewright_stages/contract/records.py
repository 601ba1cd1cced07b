"""Result records: one JSON line for each attempt at a sample, merged by whoever reads them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["started", "done", "failed", "skipped", "rejected"]

STARTED_LEFT_PROCESS = "LeftProcess"
"""Reason of a ``started`` record whose sample's code had ended: the outputs were on their way."""
STARTED_TOGETHER = "Together"
"""Reason of a ``started`` record of a sample that ran beside others: any of them may have taken the process down."""


@dataclass(frozen=True)
class OutputFile:
    """A stored output: path below the output prefix, size in bytes, blake2b-128 hash of its bytes."""

    path: str
    size: int
    hash: str


@dataclass(frozen=True)
class Record:
    """One line of a record file.

    Attributes:
        sample, stage, key: what was worked on, and under which stage key.
        state: ``started`` is written before a sample runs, so that one that takes the process down is known;
            ``rejected`` is one in which there is nothing for the pipeline.
        run, attempt: the run's id and the attempt's name (``<shard>-<pod uid>``).
        fingerprint: of the sample's input files.
        upstream: stage -> output -> hash of what was read; a record is stale when the current hashes differ.
        outputs: by declared name.
        at: seconds since the epoch when the line was made.
        seconds: wall-clock time in `process`.
        gpu_seconds, gpu_wait_seconds: GPU time of the process since its record before this one, in which samples ran
            and in which none did.
        backends: dictionaries of :class:`~scenewright_stages.contract.stage.BackendUse`.
        reason, message: of a failure or a skip.
    """

    sample: str
    stage: str
    key: str
    state: State
    run: str = ""
    attempt: str = ""
    fingerprint: str = ""
    upstream: dict[str, dict[str, str]] = field(default_factory=dict)
    outputs: dict[str, OutputFile] = field(default_factory=dict)
    at: float = 0.0
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    gpu_wait_seconds: float = 0.0
    seed: int = 0
    backends: list[dict[str, str]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    reason: str = ""
    message: str = ""

    def to_line(self) -> str:
        """The record as one line of JSON, empty fields left out."""
        data = {name: value for name, value in vars(self).items() if value not in ("", {}, [], 0, 0.0)}
        if self.outputs:
            data["outputs"] = {name: vars(file) for name, file in self.outputs.items()}
        return json.dumps(data, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str) -> Record:
        """The inverse of :meth:`to_line`; fields of newer versions are ignored."""
        data = json.loads(line)
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        known["outputs"] = {name: OutputFile(**file) for name, file in data.get("outputs", {}).items()}
        return cls(**known)


def latest(records: Iterable[Record]) -> dict[str, Record]:
    """The record that counts for each sample: the latest ``done``, else the latest end, else the latest start."""
    best: dict[str, Record] = {}
    for record in records:
        current = best.get(record.sample)
        if current is None or _precedence(record) >= _precedence(current):
            best[record.sample] = record
    return best


def crashes(records: Iterable[Record], run: str, *, alone: bool = False) -> dict[str, int]:
    """How many attempts of a run died while they were running each sample's code.

    Args:
        records: of one stage.
        run: the run's id.
        alone: count only attempts in which nothing ran beside the sample.
    """
    open_attempts: dict[str, set[str]] = {}
    ended: dict[str, set[str]] = {}
    for record in records:
        if record.run == run:
            if record.state != "started" or record.reason == STARTED_LEFT_PROCESS:
                ended.setdefault(record.sample, set()).add(record.attempt)
            elif not alone or record.reason != STARTED_TOGETHER:
                open_attempts.setdefault(record.sample, set()).add(record.attempt)
    return {sample: len(attempts - ended.get(sample, set())) for sample, attempts in open_attempts.items()}


def _precedence(record: Record) -> tuple[int, float]:
    rank = {"started": 0, "skipped": 1, "failed": 1, "rejected": 1, "done": 2}[record.state]
    return rank, record.at
