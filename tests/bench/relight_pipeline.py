"""Images a second of the whole classic relighting pipeline at 1024 x 1024, and where the time goes.

    python tests/bench/relight_pipeline.py --count 120 --output relight.json

Photographs are the astronaut of scikit-image, mirrored, moved and relit a little. Runs the command with the outputs
alone and with the folders of all stages. Exits with 1 when it is slower than 3 and 2 images a second: a limit for two
quiet CPU cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "support"), str(HERE.parent / "e2e")]

from benchmarks import show  # noqa: E402 - from the folder above
from portraits import write_png  # noqa: E402 - from the folder above
from relight_jobs import write_job  # noqa: E402
from scene_jobs import COMMAND  # noqa: E402

SIDE = 1024
ALL_FOLDERS = ["stage_1", "stage_2", "stage_3", "stage_3_5", "outputs"]
LIMITS = {"outputs": 3.0, "all folders": 2.0}


def write_photographs(folder: Path, count: int) -> None:
    """Seeded variants of the astronaut."""
    import skimage.data

    folder.mkdir(parents=True, exist_ok=True)
    large = cv2.resize(skimage.data.astronaut(), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    for number in range(count):
        random = np.random.default_rng([9, number])
        shown = np.ascontiguousarray(large[:, ::-1] if random.random() < 0.5 else large)
        moved = np.array([[1, 0, random.uniform(-20, 20)], [0, 1, random.uniform(0, 30)]])
        shown = cv2.warpAffine(shown, moved, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
        shown = cv2.convertScaleAbs(shown, alpha=random.uniform(0.85, 1.1))
        write_png(folder / f"p{number:04d}.png", np.asarray(shown))


def run(folder: Path, count: int, keep: list[str]) -> dict[str, Any]:
    """One run: images a second, seconds of wall clock by step, and CPU seconds of an image."""
    name = f"out-{len(keep)}"
    manifest = write_job(folder / f"{name}.json", folder / "in", folder / name, {"keep": keep})
    before, started = _cpu_of_children(), time.monotonic()
    done = subprocess.run(
        [*COMMAND, "run", str(manifest), "-o", "json"], capture_output=True, text=True, check=False, env=os.environ
    )
    seconds, cpu = time.monotonic() - started, _cpu_of_children() - before
    if done.returncode != 0:
        raise SystemExit(f"the run ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return {
        "images_per_second": round(count / seconds, 3),
        "seconds": round(seconds, 2),
        "cpu_seconds_per_image": round(cpu / count, 4),
        "images_per_second_if_both_cores_were_free": round(2 * count / cpu, 3),
        "step_seconds": {
            step: round(each, 2) for step, each in json.loads(done.stdout)["jobs"][0]["stepSeconds"].items()
        },
    }


def _cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    """Measures, prints and writes; the exit code says whether both limits are kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--output", type=Path, help="JSON file for the readings")
    options = parser.parse_args()
    found: dict[str, Any] = {"images": options.count, "side": SIDE, "cpus": len(os.sched_getaffinity(0))}
    with tempfile.TemporaryDirectory(prefix="relight-pipeline-") as temporary:
        write_photographs(Path(temporary) / "in", options.count)
        for label, keep in (("outputs", ["outputs"]), ("all folders", ALL_FOLDERS)):
            found[label] = run(Path(temporary), options.count, keep)
    show(found, options.output)
    return 0 if all(found[label]["images_per_second"] >= limit for label, limit in LIMITS.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
