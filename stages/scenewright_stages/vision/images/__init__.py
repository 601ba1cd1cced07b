"""Reads untrusted image files, and resizes them to a pipeline's working size."""

from scenewright_stages.vision.images.decoding import ImageError, ImageProblem
from scenewright_stages.vision.images.loading import ImageLimits, LoadedImage, load_sample, load_srgb
from scenewright_stages.vision.images.preparation import (
    Canvas,
    PixelWindow,
    PreparedImage,
    outpaint_canvas,
    prepare,
    prepared_window,
)

__all__ = [
    "Canvas",
    "ImageError",
    "ImageLimits",
    "ImageProblem",
    "LoadedImage",
    "PixelWindow",
    "PreparedImage",
    "load_sample",
    "load_srgb",
    "outpaint_canvas",
    "prepare",
    "prepared_window",
]
