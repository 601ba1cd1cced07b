"""Work items: the lines of a worklist, which the index step writes and a stage's shards process.

A work item starts as a sample and the reason why it runs. The shard adds its upstream outputs and, once fetched, their
local paths.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.records import OutputFile
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Local, Member

MAXIMUM_SHARDS = 10_000
SHARD_SECONDS = 900.0
"""A shard should take 10 to 20 minutes, so that loading a model is a small part of it."""

Outputs = Mapping[str, OutputFile]


@dataclass(frozen=True)
class WorkItem:
    """A sample that has to run in a stage.

    Attributes:
        sample: the sample.
        reason: why it must run.
        after: time of the sample's latest record in the stage when the worklist was made. Records of this run always
            get later times, regardless of clock differences; older records do not count in it.
        fingerprint: of its input files, attributes, named inputs and answer.
        hashes: of its upstream outputs, by stage and output, as its record stores them.
        upstream: outputs of the sample and its ancestors that it reads, by stage.
        families: outputs of siblings or children that it reads, by stage.
        answer: path of a person's answer that it reads; usually empty.
        suspected: it was running when an earlier process died. It runs alone, so that no other sample is blamed.
        folder: for the local copies.
        files, members, named: local copies of its inputs, of siblings or children, and of named inputs.
        fault: why its inputs could not be fetched.
    """

    sample: Sample
    reason: str
    after: float = 0.0
    fingerprint: str = ""
    hashes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    upstream: Mapping[str, Outputs] = field(default_factory=dict)
    families: Mapping[str, Sequence[tuple[Sample, Outputs]]] = field(default_factory=dict)
    answer: str = ""
    suspected: bool = False
    folder: Path = Path()
    files: Mapping[tuple[str, str], Local] = field(default_factory=dict)
    members: Mapping[str, Sequence[Member]] = field(default_factory=dict)
    fault: BaseException | None = None

    def size(self) -> int:
        """Total size of everything that it reads, in bytes."""
        own = sum(file.size for files in self.upstream.values() for file in files.values())
        others = sum(file.size for members in self.families.values() for _, files in members for file in files.values())
        return own + others + sum(file.size for file in self.sample.files.values())

    def to_line(self) -> str:
        """One line of JSON: the sample's own fields, `reason` and `after`."""
        data = {**self.sample.to_json(), "reason": self.reason, "after": self.after}
        return json.dumps(data, separators=(",", ":"), ensure_ascii=False)

    @classmethod
    def from_line(cls, line: str) -> WorkItem:
        """The inverse of :meth:`to_line`; SampleError for an id that could leave its prefix."""
        data: dict[str, Any] = json.loads(line)
        return cls(Sample.from_json(data), data["reason"], data["after"])


def shard_count(todo: int, stage: StageSpec, samples_per_shard: int | None) -> int:
    """The number of shards of a worklist: by the given shard size, else such that a shard takes about 15 minutes."""
    if todo == 0:
        return 0
    size = samples_per_shard or max(1, round(SHARD_SECONDS / max(stage.pod.seconds_per_sample, 1e-3)))
    return min(MAXIMUM_SHARDS, ceil(todo / size))


def shard_lines(lines: Sequence[str], shard: int, shards: int) -> list[str]:
    """One shard's contiguous block of a worklist; every line is in exactly one shard, and sizes differ by at most 1."""
    count = len(lines)
    return [line for position, line in enumerate(lines) if position * shards // count == shard]
