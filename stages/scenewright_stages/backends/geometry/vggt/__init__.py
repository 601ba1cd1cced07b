"""VGGT (Wang et al. 2025): cameras and depth of many images in one pass.

An independent implementation for the published weights; names and shapes of all tensors match VGGT-1B.
"""
