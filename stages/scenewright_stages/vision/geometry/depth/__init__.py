"""Depth without a model: a stated prior, and maps provided beside the image."""
