"""Fills against the usual weightless methods, all measured in one run: time, colours, texture, seam.

    python tests/bench/inpainting.py [--json FILE] [--fsr]

Holes: the outer 11.5 % of five photographs (an outpaint with known truth) and nine slivers that a moved camera
uncovers beside an object. FSR_FAST takes seconds a picture and is measured with --fsr only.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1] / "stages" / "inpainting"))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from fill_quality import blurred_psnr, measure, psnr
from photograph_holes import NAMES, Case, edge_replication, outpaint, ring_case, telea, uncovered_cases

from scenewright_stages.vision.imaging.inpainting.background import background_side
from scenewright_stages.vision.imaging.inpainting.completion import complete, warm_up

Fill = Callable[[Case], NDArray[np.float32]]


def classic(case: Case) -> NDArray[np.float32]:
    return complete(case.srgb, case.hole, seed=1, depth_guide=case.depth)


def navier_stokes(case: Case) -> NDArray[np.float32]:
    picture = np.rint(case.srgb * 255).astype(np.uint8)
    return (cv2.inpaint(picture, case.hole.astype(np.uint8), 5, cv2.INPAINT_NS) / 255).astype(np.float32)


def frequency_selective(case: Case) -> NDArray[np.float32]:
    picture = np.rint(case.srgb * 255).astype(np.uint8)
    filled = np.zeros_like(picture)
    cv2.xphoto.inpaint(picture, (~case.hole).astype(np.uint8) * 255, filled, cv2.xphoto.INPAINT_FSR_FAST)
    return (filled / 255).astype(np.float32)


def row(name: str, holes: str, fill: Fill, cases: list[Case], repeats: int) -> dict[str, object]:
    """Means and medians of one method over one kind of holes; seconds: least of the repeats, mean of the cases."""
    seconds, filled = [], []
    for case in cases:
        timings = []
        for _ in range(repeats):
            start = time.perf_counter()
            result = fill(case)
            timings.append(time.perf_counter() - start)
        seconds.append(min(timings))
        filled.append(result)
    qualities = [
        measure(picture, case.hole, None if case.depth is None else background_side(case.depth, case.hole))
        for picture, case in zip(filled, cases, strict=True)
    ]
    return {
        "method": name,
        "holes": holes,
        "seconds": round(float(np.mean(seconds)), 3),
        "psnr": _mean(psnr, filled, cases),
        "blurred_psnr": _mean(blurred_psnr, filled, cases),
        "gradient_energy": round(float(np.median([quality.gradient_energy for quality in qualities])), 2),
        "seam_step": round(float(np.median([quality.seam_step for quality in qualities])), 2),
        "unfilled": sum(quality.unfilled for quality in qualities),
    }


def _mean(score: Callable[..., float], filled: list[NDArray[np.float32]], cases: list[Case]) -> float:
    pairs = zip(filled, cases, strict=True)
    return round(float(np.mean([score(picture, case.truth, case.hole) for picture, case in pairs])), 2)


def outpaint_seconds(side: int) -> float:
    """Least of three times for a border of 15 % on each side around china.jpg at `side` pixels."""
    picture, hole = outpaint("china", side)
    timings = []
    for _ in range(3):
        start = time.perf_counter()
        complete(picture, hole, seed=1)
        timings.append(time.perf_counter() - start)
    return round(min(timings), 3)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--fsr", action="store_true")
    options = arguments.parse_args()
    warm_up()
    methods: dict[str, Fill] = {
        "classic": classic,
        "telea": telea,
        "navier-stokes": navier_stokes,
        "edge replication": edge_replication,
    }
    if options.fsr:
        methods["fsr fast"] = frequency_selective
    kinds = {"ring": [ring_case(name) for name in NAMES], "sliver": uncovered_cases()}
    rows = [
        row(name, holes, fill, cases, 1 if name == "fsr fast" else 3)
        for holes, cases in kinds.items()
        for name, fill in methods.items()
    ]
    report = {
        "rows": rows,
        "outpaint_320_seconds": outpaint_seconds(320),
        "outpaint_512_seconds": outpaint_seconds(512),
    }
    for entry in rows:
        print("  ".join(f"{value!s:>17}" for value in entry.values()))
    print(f"outpaint at 320 px {report['outpaint_320_seconds']} s, at 512 px {report['outpaint_512_seconds']} s")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
