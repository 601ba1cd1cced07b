"""Compiles all CPU kernels into numba's cache: run once when the package is installed.

``python -m scenewright_stages.vision.compile_kernels``
"""

from __future__ import annotations

import time

from scenewright_stages.vision import albedo, alignment, inpainting, matting, normals, people, shading
from scenewright_stages.vision.gaussians import cpu_renderer


def main() -> None:
    """Compiles (or finds compiled) each group of kernels and says how long it took."""
    for name, warm_up in (
        ("Gaussian renderer", cpu_renderer.warm_up),
        ("patch completion", inpainting.warm_up),
        ("depth alignment", alignment.warm_up),
        ("person finder", people.warm_up),
        ("mattes", matting.warm_up),
        ("albedo", albedo.warm_up),
        ("normals", normals.warm_up),
        ("shading", shading.warm_up),
    ):
        started = time.perf_counter()
        warm_up()
        print(f"{name}: {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
