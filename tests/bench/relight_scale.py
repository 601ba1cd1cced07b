"""A data set of thousands of images through the local executor: flat memory, bounded scratch, kills that cost nothing.

    python tests/bench/relight_scale.py --count 12000 --kills 10 --output scale.json

Generates seeded portraits with mattes, one in a hundred damaged in some way; runs the command without and then with
kills at random moments; and compares. Exits with 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "e2e")]

from killing import children, kill_tree  # noqa: E402 - from the folder above
from portraits import write_portraits  # noqa: E402
from relight_jobs import MASKED, write_job  # noqa: E402
from scene_jobs import COMMAND, lasting_files  # noqa: E402

FLATNESS = 0.05
"""Memory in the last tenth of a stage's process may exceed that in its second tenth by so much."""
LEAST_READINGS = 5
"""So many readings in a tenth of a stage's samples tell its memory."""
SCRATCH_LIMIT = 256 << 20
INTERVAL_SECONDS = 0.1


@dataclass
class Watch:
    """What a run's processes used.

    Attributes:
        memory: by stage and process, how far the stage was (0 to 1) and the resident bytes, in the order of time.
        scratch: most bytes in the scratch folder.
        seconds: of the run.
    """

    memory: dict[str, dict[int, list[tuple[float, int]]]] = field(default_factory=dict)
    scratch: int = 0
    seconds: float = 0.0

    def growth(self) -> dict[str, float]:
        """Growth between the second and the last tenth of the samples by stage: that of the longest process."""
        found: dict[str, float] = {}
        for stage, processes in self.memory.items():
            series = max(processes.values(), key=len)
            second = [resident for share, resident in series if 0.1 <= share < 0.2]
            last = [resident for share, resident in series if share >= 0.9]
            if min(len(second), len(last)) >= LEAST_READINGS:
                found[stage] = _mean(last) / _mean(second) - 1
        return found

    def highest(self) -> dict[str, int]:
        """Most resident bytes by stage."""
        return {
            stage: max(resident for series in processes.values() for _, resident in series)
            for stage, processes in self.memory.items()
        }


def run_watched(manifest: Path, scratch: Path) -> Watch:
    """Runs the command to its end."""
    watch, started = Watch(), time.monotonic()
    with subprocess.Popen(
        [*COMMAND, "run", str(manifest)], env=_environment(scratch), stdout=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            _look(process.pid, scratch, watch)
            time.sleep(INTERVAL_SECONDS)
    watch.seconds = time.monotonic() - started
    if process.returncode not in (0, 1):
        raise SystemExit(f"the run ended with {process.returncode}")
    return watch


def run_killed(manifest: Path, scratch: Path, kills: int, latest_seconds: float, seed: int = 3) -> int:
    """Kills the command at random moments and starts it again; returns how many kills met a running process."""
    draws, hit = random.Random(seed), 0
    for _ in range(kills):
        process = _start(manifest, scratch)
        time.sleep(draws.uniform(1.0, latest_seconds))
        hit += kill_tree(process)
        _tell(f"{hit} kills")
    if _start(manifest, scratch).wait() not in (0, 1):
        raise SystemExit("the last run did not finish")
    return hit


def measure(folder: Path, count: int, side: int, kills: int) -> dict[str, Any]:
    """Both runs, compared; every limit with whether it is kept."""
    expected = write_portraits(folder / "in", count, side, bad_share=0.01, soft=True)
    scratch = folder / "scratch"
    scratch.mkdir()
    block = {**MASKED, "keep": ["outputs"]}
    whole = write_job(folder / "whole.json", folder / "in", folder / "whole", block)
    watch = run_watched(whole, scratch)
    dropped, files = _dropped(folder / "whole"), lasting_files(folder / "whole")
    # 9 GB of 12,000 small images: the two results need not lie on the disk together.
    shutil.rmtree(folder / "whole")
    _tell(f"{count} images in {watch.seconds:.0f} s, growth {watch.growth()}, {watch.highest()}, {dropped == expected}")
    broken = write_job(folder / "broken.json", folder / "in", folder / "broken", block)
    hit = run_killed(broken, scratch, kills, max(2.0, 0.15 * watch.seconds))
    growth = watch.growth()
    return {
        "images": count,
        "side": side,
        "seconds": round(watch.seconds, 1),
        "images_per_second": round(count / watch.seconds, 2),
        "memory_growth": {stage: round(value, 4) for stage, value in growth.items()},
        "memory_mib": {stage: value >> 20 for stage, value in watch.highest().items()},
        "scratch_mib": round(watch.scratch / 2**20, 1),
        "kills": hit,
        "limits": {
            "memory is flat": all(value <= FLATNESS for value in growth.values()),
            "scratch is bounded": watch.scratch <= SCRATCH_LIMIT,
            "every bad file has its reason, all others are there": dropped == expected,
            "kills change nothing": files == lasting_files(folder / "broken"),
        },
    }


def _tell(text: str) -> None:
    """Of a run that takes an hour."""
    print(text, file=sys.stderr, flush=True)


def _dropped(output: Path) -> dict[str, str]:
    with (output / "dropped.csv").open(newline="") as file:
        return {row["sample"]: row["reason"] for row in csv.DictReader(file)}


def _start(manifest: Path, scratch: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, "run", str(manifest)],
        env=_environment(scratch),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _environment(scratch: Path) -> Mapping[str, str]:
    return {**os.environ, "SCENEWRIGHT_SCRATCH": str(scratch)}


def _look(parent: int, scratch: Path, watch: Watch) -> None:
    for number, variables in _workers(parent):
        stage, share = _progress(variables)
        resident = _resident(number)
        if resident:
            watch.memory.setdefault(stage, {}).setdefault(number, []).append((share, resident))
    watch.scratch = max(watch.scratch, _size(scratch))


def _workers(parent: int) -> Iterator[tuple[int, dict[str, str]]]:
    """Worker processes with their variables."""
    for number in children(parent):
        with contextlib.suppress(OSError):
            pairs = Path(f"/proc/{number}/environ").read_bytes().decode().split("\0")
            variables = {name: value for name, _, value in (pair.partition("=") for pair in pairs)}
            if "SCENEWRIGHT_TASK" in variables:
                yield number, variables


def _progress(variables: Mapping[str, str]) -> tuple[str, float]:
    """The step that a worker is at, and the share of its samples that have ended."""
    step = json.loads(variables["SCENEWRIGHT_TASK"])["step"]
    try:
        told = json.loads(Path(variables["SCENEWRIGHT_PROGRESS_FILE"]).read_text())
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
                total += (Path(parent) / name).stat().st_size
    return total


def _mean(values: list[int]) -> float:
    return sum(values) / len(values)


def main() -> int:
    """Measures, prints and writes; the exit code says whether all limits are kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=12000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="kept afterwards; a temporary one when it is not given")
    parser.add_argument("--output", type=Path, help="JSON file for the readings")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relight-scale-") as temporary:
        found = measure(options.folder or Path(temporary), options.count, options.side, options.kills)
    text = json.dumps(found, indent=1)
    print(text)
    if options.output:
        options.output.write_text(text + "\n")
    return 0 if all(found["limits"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
