"""The data plane of Scenewright: contract, store, worker, models, vision and one package per pipeline."""

import os

# Threads that wait for each other by spinning take the time that they wait for when the machine is shared: measured,
# a fit beside other work is four times slower. libgomp reads this once, when torch or numba first loads it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
