"""Reads untrusted image files."""

from scenewright_stages.vision.imaging.images.decoding import ImageError, ImageProblem
from scenewright_stages.vision.imaging.images.loading import ImageLimits, LoadedImage, load_sample, load_srgb

__all__ = ["ImageError", "ImageLimits", "ImageProblem", "LoadedImage", "load_sample", "load_srgb"]
