"""Compiled CPU kernels of the Gaussian renderer; `cpu_renderer` and `cpu_fitting` drive them."""

from pathlib import Path

from scenewright_stages.vision.gaussians.kernels.cache import discard_stale
from scenewright_stages.vision.gaussians.kernels.loss import adam as _any_kernel

# All kernels share one cache folder, and nothing has been loaded from it yet.
discard_stale(Path(str(_any_kernel.stats.cache_path)), Path(__file__).parent)
