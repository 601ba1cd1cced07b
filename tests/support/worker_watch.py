"""What the worker processes of a run use: resident memory by how far a stage is, and scratch space."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scenewright_stages.contract.task import ENVIRONMENT

FLATNESS = 0.05
"""Memory in the last tenth of a process's samples may exceed that in its second tenth by so much."""
LEAST_READINGS = 5
"""So many readings in a tenth of a process's samples tell its memory."""
SCRATCH_LIMIT = 256 << 20
PROGRESS = "SCENEWRIGHT_PROGRESS_FILE"

Worker = tuple[int, Mapping[str, str]]
"""Number and variables of a process."""


@dataclass
class Watch:
    """What a run's processes used.

    Attributes:
        memory: by stage and process, how far the stage was (0 to 1) and the resident bytes, in the order of time.
        scratch: most bytes in a scratch folder.
        seconds: of the run.
    """

    memory: dict[str, dict[str, list[tuple[float, int]]]] = field(default_factory=dict)
    scratch: int = 0
    seconds: float = 0.0

    def look(self, workers: Iterable[Worker], scratches: Iterable[Path]) -> None:
        """Reads what the workers and their scratch folders hold now."""
        for number, variables in workers:
            stage, share = _progress(number, variables)
            resident = _resident(number)
            if resident:
                name = f"{variables.get('SCENEWRIGHT_POD', 'local')}-{number}"
                self.memory.setdefault(stage, {}).setdefault(name, []).append((share, resident))
        self.scratch = max([self.scratch, *map(_size, scratches)])

    def growth(self) -> dict[str, float]:
        """Growth from the second to the last tenth of the samples by stage: the most of its processes.

        Of those that were read often enough in both, and of stages that have such a process.
        """
        found: dict[str, float] = {}
        for stage, processes in self.memory.items():
            for series in processes.values():
                second = [resident for share, resident in series if 0.1 <= share < 0.2]
                last = [resident for share, resident in series if share >= 0.9]
                if min(len(second), len(last)) >= LEAST_READINGS:
                    found[stage] = max(found.get(stage, -1.0), _mean(last) / _mean(second) - 1)
        return found

    def is_flat(self, stages: Iterable[str]) -> bool:
        """Whether no stage's memory grows by more than the limit, all of them having been read often enough."""
        growth = self.growth()
        return all(growth.get(stage, math.inf) <= FLATNESS for stage in stages)

    def readings(self) -> dict[str, Any]:
        """For people: growth and most of the memory by stage, scratch, seconds."""
        highest = {
            stage: max(resident for series in processes.values() for _, resident in series)
            for stage, processes in self.memory.items()
        }
        return {
            "seconds": round(self.seconds, 1),
            "memory_growth": {stage: round(value, 4) for stage, value in self.growth().items()},
            "memory_mib": {stage: value >> 20 for stage, value in highest.items()},
            "scratch_mib": round(self.scratch / 2**20, 1),
        }


def worker_processes(numbers: Iterable[int] | None = None) -> Iterator[Worker]:
    """Those of the processes that are workers; of all on this machine, those in Pods included, when none is named."""
    for number in _all_processes() if numbers is None else numbers:
        with contextlib.suppress(OSError):
            pairs = Path(f"/proc/{number}/environ").read_bytes().decode(errors="replace").split("\0")
            variables = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
            if ENVIRONMENT in variables:
                yield number, variables


def local_workers(command: int) -> Iterator[Worker]:
    """The workers of a local run, whose variables nobody can read since they are forks: their log tells the shard."""
    for number in _descendants(command):
        with contextlib.suppress(OSError):
            open_files = [path.readlink() for path in Path(f"/proc/{number}/fd").iterdir()]
            folders = {path.parent for path in open_files if path.name == "log" and path.parent.name.endswith("-0")}
            for folder in folders:
                step = folder.name.rpartition("-")[0]
                yield number, {ENVIRONMENT: json.dumps({"step": step}), PROGRESS: str(folder / "progress.json")}


def _descendants(number: int) -> Iterator[int]:
    for listing in Path(f"/proc/{number}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, listing.read_text().split()):
                yield child
                yield from _descendants(child)


def _all_processes() -> Iterator[int]:
    return (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit())


def _progress(number: int, variables: Mapping[str, str]) -> tuple[str, float]:
    """The step that a worker is at, and the share of its samples that have ended."""
    step = json.loads(variables[ENVIRONMENT])["step"]
    try:
        # As the process sees the file, which may be in a container.
        told = json.loads(Path(f"/proc/{number}/root{variables[PROGRESS]}").read_text())
    except (OSError, KeyError, ValueError):
        return step, 0.0
    samples = told["samples"]
    ended = samples["done"] + samples["failed"] + samples["skipped"]
    return told["step"], ended / samples["total"] if samples["total"] else 0.0


def _resident(number: int) -> int:
    try:
        return int(Path(f"/proc/{number}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _size(folder: Path) -> int:
    """Bytes below a folder; what vanishes meanwhile does not count."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(parent) / name).lstat().st_size
    return total


def _mean(values: list[int]) -> float:
    return sum(values) / len(values)
