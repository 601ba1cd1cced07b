"""FLUX.2 klein as an editor: paints a picture from another one and an instruction, in four steps.

It is diffusers' ``Flux2KleinPipeline`` with the picture as its reference. A result of more than a megapixel is painted
at a megapixel and enlarged. Initial latents are drawn on the CPU from the sample's seed.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from scenewright_stages.backends.edit.interface import check_edit_request, check_edited
from scenewright_stages.backends.inpaint import flux2_klein
from scenewright_stages.backends.inpaint.flux2_klein import KleinModel, fitting_size, ready_pipeline
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.vision.imaging.colour import uint8_from_unit
from scenewright_stages.vision.types import Float32Array

_SHORTEST, _LARGEST_RATIO = 64, 8
"""Least side in pixels, and largest ratio of the sides, of a reference that the pipeline takes."""


class KleinEditor(KleinModel):
    """An ``Editor`` around a ready ``Flux2KleinPipeline``."""

    def edit(
        self, srgb: Float32Array, instruction: str, seed: int = 0, size: tuple[int, int] | None = None
    ) -> Float32Array:
        """See ``Editor.edit``."""
        check_edit_request(srgb, instruction)
        width, height = size or (srgb.shape[1], srgb.shape[0])
        multiple = self._multiple
        fitting = fitting_size(width, height, flux2_klein.LARGEST_AREA, multiple)
        columns, rows = (-(-side // multiple) * multiple for side in fitting)
        painted = self._paint(instruction, seed, (columns, rows), image=reference_of(srgb), width=columns, height=rows)
        if painted.shape[:2] != (height, width):
            how = cv2.INTER_AREA if rows * columns > width * height else cv2.INTER_CUBIC
            painted = np.asarray(cv2.resize(painted, (width, height), interpolation=how), np.float32)
        return check_edited(painted)


def reference_of(srgb: Float32Array) -> Any:
    """A Pillow image as the pipeline takes it: widened with its edge's colours, or enlarged, if it must be.

    The pipeline itself shrinks what has more than a megapixel, and cuts the sides to whole patches.
    """
    from PIL import Image

    pixels = uint8_from_unit(srgb)
    height, width = pixels.shape[:2]
    least = -(-max(height, width) // _LARGEST_RATIO)
    below, right = max(0, least - height), max(0, least - width)
    pixels = np.asarray(cv2.copyMakeBorder(pixels, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8)
    scale = _SHORTEST / min(pixels.shape[:2])
    if scale > 1:
        sides = [round(side * scale) for side in pixels.shape[1::-1]]
        pixels = np.asarray(cv2.resize(pixels, sides, interpolation=cv2.INTER_CUBIC), np.uint8)
    return Image.fromarray(pixels)


def load_klein_edit(request: LoadRequest) -> KleinEditor:
    """Loads the published pipeline from its folder; quantises, compiles and places it according to the options.

    Raises:
        UnsupportedOption: a combination of options that cannot work.
        ModuleNotFoundError: diffusers or transformers is not installed.
    """
    return KleinEditor(*ready_pipeline(request, "Flux2KleinPipeline"))
