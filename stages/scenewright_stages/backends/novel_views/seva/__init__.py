"""SEVA (Zhou et al. 2025, "Stable Virtual Camera"), version 1.1.

An independent implementation for the published weights: parameter names match, so ``modelv1.1.safetensors`` loads
without conversion. The image autoencoder and CLIP come from diffusers and transformers.
"""
