"""Gaussian scenes: tensors, rendering, optimisation, evaluation and files.

Import from the submodules (`scene`, `rendering`, `optimisation`, `evaluation`, `ply`).
"""
