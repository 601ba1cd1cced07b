"""How fast step 7's degradations are beside the plain Pillow and OpenCV formula and albumentations, on one core.

    python tests/bench/degradation.py [--side 1024] [--images 12] [--json FILE]

All ways degrade the same pictures by the same draws, in turn, on one thread; processor time counts. Pixels are compared
with the plain formula. albumentations is measured where it is installed (2.0.8 in an environment of its own, with this
repository's folders on PYTHONPATH). Prints JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from scenewright_stages.reference.augment import chances
from scenewright_stages.reference.degradation import Degradation, degraded, drawn, line_kernel
from scenewright_stages.reference.params import AugmentParams

Bytes = NDArray[np.uint8]


def plain(pixels: Bytes, how: Degradation) -> Bytes:
    """Pillow's enhancers, OpenCV's filter, and JPEG files in memory, one after the other."""
    image = Image.fromarray(pixels)
    if how.black_and_white:
        image = image.convert("L").convert("RGB")
    for factor, enhancer in (
        (None if how.black_and_white else how.saturation, ImageEnhance.Color),
        (how.contrast, ImageEnhance.Contrast),
        (how.brightness, ImageEnhance.Brightness),
    ):
        if factor is not None:
            image = enhancer(image).enhance(factor)
    out = np.asarray(image)
    if how.blur is not None:
        kernel = line_kernel(how.blur, how.blur_degrees)
        out = cv2.filter2D(out, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    for quality in how.qualities:
        bgr = cv2.cvtColor(out, cv2.COLOR_RGB2BGR)
        _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        out = cv2.cvtColor(cv2.imdecode(encoded, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return np.asarray(out, np.uint8)


def by_albumentations(pixels: Bytes, how: Degradation) -> Bytes:
    """The same operations with the same strengths; the blur's direction is drawn by the library."""
    import albumentations as library

    steps: list[Any] = [library.ToGray(p=1)] if how.black_and_white else []
    for name, factor in (("saturation", how.saturation), ("contrast", how.contrast), ("brightness", how.brightness)):
        if factor is not None:
            same = dict.fromkeys(("brightness", "contrast", "saturation"), (1.0, 1.0))
            steps.append(library.ColorJitter(**{**same, name: (factor, factor)}, hue=(0, 0), p=1))
    if how.blur is not None:
        length = max(3, how.blur | 1)
        steps.append(library.MotionBlur(blur_limit=(length, length), p=1))
    steps += [library.ImageCompression(quality_range=(quality, quality), p=1) for quality in how.qualities]
    return np.asarray(library.Compose(steps)(image=pixels)["image"], np.uint8)


def cpu_seconds(work: Callable[[], object]) -> float:
    """Processor time of a call: what others do on the machine does not count."""
    started = time.process_time()
    work()
    return time.process_time() - started


def measure(side: int, images: int) -> dict[str, Any]:
    """Seconds of each way for all pictures, ratios, and the largest difference in pixels."""
    cv2.setNumThreads(1)
    picture = cv2.resize(skimage.data.astronaut(), (side, side), interpolation=cv2.INTER_CUBIC)
    draws = [drawn(chances(AugmentParams()), number) for number in range(images)]
    ways: dict[str, Callable[[Bytes, Degradation], Bytes]] = {"ours": degraded, "plain": plain}
    if importlib.util.find_spec("albumentations"):
        ways["albumentations"] = by_albumentations
    seconds = dict.fromkeys(ways, 0.0)
    for name, way in ways.items():
        way(picture[:64, :64], draws[0])  # what is loaded at the first use
        seconds[name] = 0.0
    for how in draws:
        for name, way in ways.items():
            seconds[name] += min(cpu_seconds(lambda way=way, how=how: way(picture, how)) for _ in range(2))  # type: ignore[misc]
    differences = [np.abs(degraded(picture, how).astype(int) - plain(picture, how)).max() for how in draws]
    one_step = [
        Degradation(True), Degradation(saturation=2.1), Degradation(contrast=0.4), Degradation(brightness=1.4),
        Degradation(blur=33, blur_degrees=20.0), Degradation(qualities=(30, 12, 25)),
    ]  # fmt: skip
    steps = [np.abs(degraded(picture, how).astype(int) - plain(picture, how)).max() for how in one_step]
    return {
        "side": side,
        "images": images,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "times_faster": {name: round(value / seconds["ours"], 2) for name, value in seconds.items() if name != "ours"},
        "largest_difference_of_one_step": int(max(steps)),
        "largest_difference_of_all_steps": int(max(differences)),
        "opencv": cv2.__version__,
        "machine": platform.processor() or platform.machine(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    found = measure(options.side, options.images)
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
