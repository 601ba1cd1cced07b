"""Completion of missing picture parts without a model: multi-scale PatchMatch and gradient-domain blending."""

from scenewright_stages.vision.imaging.inpainting.completion import FillError, complete

__all__ = ["FillError", "complete"]
