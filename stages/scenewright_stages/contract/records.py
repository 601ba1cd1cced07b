"""Result records: one JSON line per attempt at a sample. Readers merge the lines of all attempts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["started", "done", "failed", "skipped", "rejected"]

STARTED_LEFT_PROCESS = "LeftProcess"
"""Reason of a ``started`` record whose sample's code had ended: the outputs were on their way."""
STARTED_TOGETHER = "Together"
"""Reason of a ``started`` record of a sample that ran beside others: any of them may have taken the process down."""


@dataclass(frozen=True)
class OutputFile:
    """A stored output: one file, or several files that count as one output.

    Attributes:
        path: below the output prefix: for numbered files the path with ``{number}``, for a folder its prefix. The URI
            if the output came with the input.
        size: total in bytes.
        hash: blake2b-128 of the bytes; for several files, of their names and hashes.
        parts: size and hash of each file by name, in order (possibly none); empty for a single file.
    """

    path: str
    size: int
    hash: str
    parts: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    @classmethod
    def of_parts(cls, path: str, parts: Mapping[str, tuple[int, str]]) -> OutputFile:
        """Many files as one output; `path` is their template or folder, `parts` are by name."""
        listing = "".join(f"{name}\0{digest}\n" for name, (_, digest) in parts.items())
        digest = hashlib.blake2b(listing.encode(), digest_size=16).hexdigest()
        return cls(path, sum(size for size, _ in parts.values()), digest, dict(parts))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OutputFile:
        """The inverse of :meth:`to_json`."""
        parts = {name: (size, digest) for name, (size, digest) in data.get("parts", {}).items()}
        return cls(data["path"], data["size"], data["hash"], parts)

    def to_json(self) -> dict[str, Any]:
        """As a JSON object; parts and their number only for multi-file outputs."""
        out: dict[str, Any] = {"path": self.path, "size": self.size, "hash": self.hash}
        many = self.is_folder or self.is_numbered
        return {**out, "count": len(self.parts), "parts": self.parts} if many else out

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of files."""
        return self.path.endswith("/")

    @property
    def is_numbered(self) -> bool:
        """Whether it is a sequence of numbered files."""
        return "{number" in self.path

    def summary(self) -> dict[str, Any]:
        """As :meth:`to_json`, without the single parts."""
        return {name: value for name, value in self.to_json().items() if name != "parts"}

    def files(self) -> dict[str, OutputFile]:
        """Every file by name; a single file under the last component of its path."""
        if not (self.is_folder or self.is_numbered):
            return {self.path.rpartition("/")[2]: self}
        folder = self.path.rpartition("/")[0]
        return {name: OutputFile(f"{folder}/{name}", *part) for name, part in self.parts.items()}


@dataclass(frozen=True)
class Record:
    """One line of a record file.

    Attributes:
        sample, stage, key: what was worked on, and under which stage key.
        state: ``started`` is written before a sample runs, so that a sample that kills the process is known;
            ``rejected`` means that it holds nothing for the pipeline.
        run, attempt: the run's id and the attempt's name (``<shard>-<pod uid>``).
        fingerprint: of the sample's input files.
        upstream: stage -> output -> hash of what was read; a record is stale when the current hashes differ.
        outputs: by declared name.
        attributes: the sample attributes that appear in output paths.
        state_step: in a ``started`` record, the step of the last durable state that the stage saved.
        at: when the line was made, in seconds since the epoch.
        begun: when its process began the stage; 0 in records of older versions.
        seconds: wall-clock time in `process`.
        gpu_seconds, gpu_wait_seconds: GPU time since the process's previous record, with and without a running sample.
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
    attributes: dict[str, Any] = field(default_factory=dict)
    state_step: int = 0
    at: float = 0.0
    begun: float = 0.0
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
            data["outputs"] = {name: file.to_json() for name, file in self.outputs.items()}
        return json.dumps(data, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str) -> Record:
        """The inverse of :meth:`to_line`; fields of newer versions are ignored."""
        data = json.loads(line)
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        known["outputs"] = {name: OutputFile.from_json(file) for name, file in data.get("outputs", {}).items()}
        return cls(**known)


@dataclass(frozen=True)
class Deaths:
    """Attempts of a run that died while running a sample's code.

    Attributes:
        total: all of them; for a stage that keeps state, only those since the last saved state.
        alone: those in which no other sample was running.
    """

    total: int = 0
    alone: int = 0


def deaths(records: Iterable[Record], run: str) -> dict[str, Deaths]:
    """How many attempts of a run died in each sample's code; a state that advanced in between forgives earlier ones."""
    open_attempts: dict[str, dict[str, Record]] = {}
    ended: dict[str, set[str]] = {}
    for record in records:
        if record.run == run:
            if record.state != "started" or record.reason == STARTED_LEFT_PROCESS:
                ended.setdefault(record.sample, set()).add(record.attempt)
            else:
                open_attempts.setdefault(record.sample, {})[record.attempt] = record
    return {sample: _deaths(attempts, ended.get(sample, set())) for sample, attempts in open_attempts.items()}


def _deaths(attempts: Mapping[str, Record], ended: set[str]) -> Deaths:
    died = sorted((attempts[name] for name in attempts.keys() - ended), key=lambda record: record.at)
    counting: list[Record] = []
    for record in died:
        # A damaged state sends the sample back to an earlier step; that forgives nothing.
        advanced = record.state_step > max((each.state_step for each in counting), default=0)
        counting = [record] if advanced else [*counting, record]
    return Deaths(len(counting), sum(record.reason != STARTED_TOGETHER for record in counting))
