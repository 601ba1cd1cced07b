"""Compiled CPU kernels of the Gaussian renderer; `splatting` and `cpu_fitting` drive them."""
