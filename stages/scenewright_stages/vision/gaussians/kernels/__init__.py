"""Compiled CPU kernels of the Gaussian renderer; `renderer` and `fitting` drive them."""
