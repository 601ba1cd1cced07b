"""Work items: the lines of a worklist, which the index step writes and a stage's shards take up.

A work item begins as a sample with the reason why it runs. The shard adds what it reads upstream and, once fetched,
where that lies on its disk.
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
        reason: why it is to run.
        after: time of the youngest record of the sample in the stage when the worklist was made. Records of this run
            are given later times whatever the clocks of the machines say, and older ones do not count in it.
        fingerprint: of its input files, attributes, named inputs and answer.
        hashes: of what it reads upstream, by stage and output, as its record stores them.
        upstream: what it reads of its own or its ancestors' outputs, by stage.
        families: what it reads of siblings or children, by stage.
        answer: path of a person's answer that it reads; empty for most.
        suspected: it ran when an earlier process died. It runs alone, so that no other sample is blamed for it.
        folder: takes the local copies.
        files, members, named: local copies: of own inputs, of siblings or children, of named inputs.
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
        """Bytes of everything that it reads."""
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
    """Into how many shards a worklist is cut: by the given size, else so that one takes about 15 minutes."""
    if todo == 0:
        return 0
    size = samples_per_shard or max(1, round(SHARD_SECONDS / max(stage.seconds_per_sample, 1e-3)))
    return min(MAXIMUM_SHARDS, ceil(todo / size))


def shard_lines(lines: Sequence[str], shard: int, shards: int) -> list[str]:
    """The contiguous block of a worklist that is one shard's: every line is in exactly one shard, sizes differ by 1."""
    count = len(lines)
    return [line for position, line in enumerate(lines) if position * shards // count == shard]
