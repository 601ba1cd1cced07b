"""Compiled CPU kernels of the Gaussian renderer; `splatting` and `cpu_fitting` drive them."""

from pathlib import Path

from .adam import adam as _any_kernel
from .cache import discard_stale

# All kernels share one cache folder, and nothing has been loaded from it yet.
discard_stale(Path(str(_any_kernel.stats.cache_path)), Path(__file__).parent)
