"""Compiles all CPU kernels into numba's cache: run once when the package is installed.

``python -m scenewright_stages.compile_kernels`` calls ``warm_up`` of every module that defines it. A module
with kernels calls each of them there on a tiny input, so that the first sample of a run does not wait.
"""

from __future__ import annotations

import importlib
import re
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

PACKAGE = Path(__file__).parent
RENDERER = "scenewright_stages.vision.gaussians"


def main() -> None:
    """Compiles each group of kernels unless cached, and prints how long it took; families run in parallel."""
    families = kernel_families()
    with ProcessPoolExecutor(len(families), mp_context=get_context("fork")) as processes:
        list(processes.map(_compile, families))


def kernel_families() -> tuple[tuple[str, ...], ...]:
    """Modules that define ``warm_up``: those of the Gaussian renderer, and all others.

    Families share no kernel, because numba updates a kernel's cache index without a lock. Each compiles on one core,
    and both take about equally long.
    """
    defining = re.compile(r"^def warm_up\(", re.MULTILINE)
    found = sorted(
        ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in PACKAGE.rglob("*.py")
        if defining.search(path.read_text(encoding="utf-8"))
    )
    renderer = tuple(name for name in found if name.startswith(f"{RENDERER}."))
    return renderer, tuple(name for name in found if name not in renderer)


def _compile(modules: tuple[str, ...]) -> None:
    for name in modules:
        started = time.perf_counter()
        importlib.import_module(name).warm_up()
        print(f"{name.removeprefix('scenewright_stages.')}: {time.perf_counter() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
