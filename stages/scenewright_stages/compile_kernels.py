"""Compiles all CPU kernels into numba's cache: run once when the package is installed.

``python -m scenewright_stages.compile_kernels``
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from scenewright_stages.reference import degradation
from scenewright_stages.relight import shading
from scenewright_stages.vision.gaussians import renderers
from scenewright_stages.vision.geometry import normals
from scenewright_stages.vision.imaging import albedo, inpainting, matting
from scenewright_stages.vision.places.worlds import cheapest_path, mesh
from scenewright_stages.vision.subjects import people, relief
from scenewright_stages.vistadream import alignment

Group = tuple[str, Callable[[], None]]

# Families share no kernel, because numba updates a kernel's cache index without a lock. Each compiles on one core, and
# both take about equally long.
FAMILIES: tuple[tuple[Group, ...], ...] = (
    (("Gaussian renderer", renderers.warm_up),),
    (
        ("patch completion", inpainting.warm_up),
        ("depth alignment", alignment.warm_up),
        ("person finder", people.warm_up),
        ("mattes", matting.warm_up),
        ("albedo", albedo.warm_up),
        ("normals", normals.warm_up),
        ("shading", shading.warm_up),
        ("relief", relief.warm_up),
        ("degradations", degradation.warm_up),
        ("meshes of worlds", mesh.warm_up),
        ("layouts of worlds", cheapest_path.warm_up),
    ),
)


def main() -> None:
    """Compiles each group of kernels unless cached, and prints how long it took; families run in parallel."""
    with ProcessPoolExecutor(len(FAMILIES), mp_context=get_context("fork")) as processes:
        list(processes.map(_compile, FAMILIES))


def _compile(family: tuple[Group, ...]) -> None:
    for name, warm_up in family:
        started = time.perf_counter()
        warm_up()
        print(f"{name}: {time.perf_counter() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
