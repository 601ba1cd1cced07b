"""A data set of thousands of images through the local executor: flat memory, bounded scratch, kills that cost nothing.

    python tests/bench/relight_scale.py --count 12000 --kills 10 --output scale.json

Makes photographs of people, one in a hundred damaged in some way; runs the command with the pipeline's defaults,
without and then with kills at random moments; and compares. With --masks people are drawn, and their mattes supplied.
In two commands: --part whole, then --part killed with the same --folder. Exits with 1 when a limit is missed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "e2e")]

from benchmarks import show  # noqa: E402 - from the folder above
from killing import kill_tree  # noqa: E402 - from the folder above
from portraits import write_people, write_portraits  # noqa: E402
from relight_jobs import MASKED, STAGES, write_job  # noqa: E402
from scene_jobs import COMMAND, lasting_files  # noqa: E402
from worker_watch import SCRATCH_LIMIT, Watch, local_workers  # noqa: E402

INTERVAL_SECONDS = 0.1
BAD_SHARE = 0.01
DROPPED = "dropped.csv"
BLOCK: dict[str, Any] = {**MASKED, "keep": ["outputs"]}
LEARNED: dict[str, Any] = {"keep": ["outputs"]}
"""The pipeline's defaults."""
WHOLE = "whole-run.json"
"""What the run without kills left behind: its files' hashes, its seconds and what planted files it reported."""


def run_watched(manifest: Path, scratch: Path) -> Watch:
    """Runs the command to its end."""
    watch, started = Watch(), time.monotonic()
    with subprocess.Popen(
        [*COMMAND, "run", str(manifest)], env=_environment(scratch), stdout=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            watch.look(local_workers(process.pid), [scratch])
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
        tell(f"{hit} kills")
    if _start(manifest, scratch).wait() not in (0, 1):
        raise SystemExit("the last run did not finish")
    return hit


def measure_whole(folder: Path, count: int, side: int, masks: bool) -> dict[str, Any]:
    """The run without kills; its files' hashes stay in the folder for the other one."""
    if masks:
        expected = write_portraits(folder / "in", count, side, BAD_SHARE, soft=True)
    else:
        expected = write_people(folder / "in", count, side, BAD_SHARE)
    scratch = folder / "scratch"
    scratch.mkdir()
    block = BLOCK if masks else LEARNED
    watch = run_watched(write_job(folder / "whole.json", folder / "in", folder / "whole", block), scratch)
    dropped = dropped_samples((folder / "whole" / DROPPED).read_text())
    left = {"block": block, "seconds": watch.seconds, "files": lasting_files(folder / "whole")}
    (folder / WHOLE).write_text(json.dumps(left))
    # 9 GB of 12,000 small images: the two results need not lie on the disk together.
    shutil.rmtree(folder / "whole")
    tell(f"{count} images: {watch.readings()}, {dropped == expected}")
    return {
        "images_per_second": round(count / watch.seconds, 2),
        **watch.readings(),
        "limits": {
            "memory is flat": watch.is_flat(STAGES),
            "scratch is bounded": watch.scratch <= SCRATCH_LIMIT,
            "every bad file has its reason, all others are there": dropped == expected,
        },
    }


def measure_killed(folder: Path, kills: int) -> dict[str, Any]:
    """The same job, killed again and again, beside what the other run left."""
    whole = json.loads((folder / WHOLE).read_text())
    broken = write_job(folder / "broken.json", folder / "in", folder / "broken", whole["block"])
    hit = run_killed(broken, folder / "scratch", kills, max(2.0, 0.15 * whole["seconds"]))
    return {"kills": hit, "limits": {"kills change nothing": whole["files"] == lasting_files(folder / "broken")}}


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The parts that were asked for, and every limit with whether it is kept."""
    found: dict[str, Any] = {"images": options.count, "side": options.side, "masks supplied": options.masks}
    limits: dict[str, bool] = {}
    if options.part in ("both", "whole"):
        whole = measure_whole(folder, options.count, options.side, options.masks)
        limits |= whole.pop("limits")
        found |= whole
    if options.part in ("both", "killed"):
        killed = measure_killed(folder, options.kills)
        limits |= killed.pop("limits")
        found |= killed
    return {**found, "limits": limits}


def tell(text: str) -> None:
    """Of a run that takes an hour."""
    print(text, file=sys.stderr, flush=True)


def dropped_samples(text: str) -> dict[str, str]:
    """Reasons by sample of ``dropped.csv``."""
    return {row["sample"]: row["reason"] for row in csv.DictReader(text.splitlines())}


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


def main() -> int:
    """Measures, prints and writes; the exit code says whether all limits are kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=12000)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--masks", action="store_true", help="drawn people with supplied mattes")
    parser.add_argument("--part", choices=("both", "whole", "killed"), default="both")
    parser.add_argument("--folder", type=Path, help="kept afterwards; a temporary one when it is not given")
    parser.add_argument("--output", type=Path, help="JSON file for the readings")
    options = parser.parse_args()
    if options.part != "both" and options.folder is None:
        parser.error("a part of the measurement needs --folder")
    with tempfile.TemporaryDirectory(prefix="relight-scale-") as temporary:
        found = measure(options.folder or Path(temporary), options)
    show(found, options.output)
    return 0 if all(found["limits"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
