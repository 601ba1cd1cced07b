"""SEVA (Zhou et al. 2025, "Stable Virtual Camera"), version 1.1: our own code for the published weights.

The network's parameters carry the published names, so that ``modelv1.1.safetensors`` loads without conversion; the
image autoencoder and CLIP come from diffusers and transformers.
"""
