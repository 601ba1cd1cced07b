"""Gaussian scenes: tensors, rendering, optimisation and files.

Import from the submodules (`scene`, `rendering`, `optimisation`, `ply`).
"""
