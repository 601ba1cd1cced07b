"""Compiled CPU kernels of the Gaussian renderer; `splatting` and `cpu_fitting` drive them."""

import os
from pathlib import Path

from .adam import adam as _any_kernel
from .cache import discard_stale

# Threads that wait for each other by spinning take the time they wait for when the machine is shared:
# measured, a fit beside other work is four times slower. libgomp reads this when numba first loads it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# All kernels share one cache folder, and nothing has been loaded from it yet.
discard_stale(Path(str(_any_kernel.stats.cache_path)), Path(__file__).parent)
