"""How much faster the wide blurs and the multi-scale Retinex are than the plain formula, on one core, in one run.

    python tests/bench/retinex.py [--side 1024] [--json FILE]

Both sides run on one thread, alternately; the minimum of the rounds counts. Prints a table and JSON.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.albedo import multi_scale_retinex, retinex_blurs
from scenewright_stages.vision.imaging.albedo.estimation import warm_up
from scenewright_stages.vision.imaging.albedo.retinex import SCALES

Floats = NDArray[np.float32]


def plain_blurs(image: Floats) -> list[Floats]:
    """The three blurs as OpenCV makes them."""
    blurs = [cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101) for sigma in SCALES]
    return [np.asarray(blurred, np.float32) for blurred in blurs]


def plain_retinex(srgb: Floats) -> Floats:
    """The formula with numpy and OpenCV, in float32 throughout."""
    image = srgb * np.float32(255)
    mean = np.zeros_like(image)
    logs = np.log10(image + 1)
    for blurred in plain_blurs(image):
        mean += logs - np.log10(blurred + 1)
    mean /= len(SCALES)
    ranged = (mean - mean.min()) / (mean.max() - mean.min()) * 255
    low, high = np.percentile(ranged, [1, 99], axis=(0, 1)).astype(np.float32)
    balanced: Floats = np.clip((ranged - low) / (high - low), 0, 1)
    return balanced


def cpu_seconds(work: Callable[[], object], rounds: int) -> float:
    """The least processor time of a call: what others do on the machine does not count."""
    best = np.inf
    for _ in range(rounds):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return float(best)


def measure(side: int) -> dict[str, float]:
    """Seconds of both ways and their ratios."""
    picture = cv2.resize(skimage.data.astronaut(), (side, side), interpolation=cv2.INTER_CUBIC)
    srgb = picture.astype(np.float32) / np.float32(255)
    image = srgb * np.float32(255)
    warm_up()
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        seconds = {
            "blurs": cpu_seconds(lambda: list(retinex_blurs(image, SCALES)), 9),
            "plain_blurs": cpu_seconds(lambda: plain_blurs(image), 2),
            "retinex": cpu_seconds(lambda: multi_scale_retinex(srgb), 9),
            "plain_retinex": cpu_seconds(lambda: plain_retinex(srgb), 2),
        }
    finally:
        cv2.setNumThreads(threads)
    ratios = {name: seconds[f"plain_{name}"] / seconds[name] for name in ("blurs", "retinex")}
    return {**seconds, **{f"{name}_ratio": ratio for name, ratio in ratios.items()}}


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 1 if a ratio is below its limit at 1024 pixels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    found = measure(options.side)
    for name, limit in (("blurs", 80), ("retinex", 20)):
        plain, fast, ratio = found[f"plain_{name}"], found[name], found[f"{name}_ratio"]
        times = f"plain {plain * 1e3:8.1f} ms   fast {fast * 1e3:7.1f} ms"
        print(f"{name:8} {times}   {ratio:6.1f} times (at least {limit})")
    record = {**found, "side": options.side, "opencv": cv2.__version__, "machine": platform.processor()}
    print(json.dumps(record))
    if options.json:
        options.json.write_text(json.dumps(record, indent=1))
    return int(options.side == 1024 and (found["blurs_ratio"] < 80 or found["retinex_ratio"] < 20))


if __name__ == "__main__":
    sys.exit(main())
