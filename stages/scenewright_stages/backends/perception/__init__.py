"""Capability ``perception``: perceptual distances between images."""
