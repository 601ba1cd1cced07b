"""Compiled CPU kernels of the Gaussian renderer; `splatting` and `cpu_fitting` drive them."""

import os

# Threads that wait for each other by spinning take the time they wait for when the machine is shared:
# measured, a fit beside other work is four times slower. libgomp reads this when numba first loads it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
