"""VGGT (Wang et al. 2025): cameras and depth of many pictures in one pass.

Written for the published weights: names and shapes of all tensors are those of VGGT-1B. The code is this project's own.
"""
