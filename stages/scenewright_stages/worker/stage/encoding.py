"""Encodes image outputs that stages return as pixel values."""

from __future__ import annotations

import cv2
import numpy as np

from scenewright_stages.contract.stage import Pixels

RESULT_OPTIONS = (
    cv2.IMWRITE_PNG_COMPRESSION, 1,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP,
)  # fmt: skip
"""The fastest that still compresses: 30 ms for a photograph of 1024 x 1024, at 104 % of the size of level 3."""
INTERMEDIATE_OPTIONS = (
    cv2.IMWRITE_PNG_COMPRESSION, 0,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE,
)  # fmt: skip
"""Stored without compression: only the next stage reads it."""
CHANNELS = (1, 3, 4)


def encode_png(pixels: Pixels, *, compressed: bool) -> bytes:
    """The PNG file of an image; the same bytes for the same values.

    Args:
        pixels: uint8 (H, W), (H, W, 3) RGB or (H, W, 4) RGBA.
        compressed: False for files that only the next stage reads.

    Raises:
        ValueError: dtype or shape is another one.
    """
    if pixels.png is not None:
        return pixels.png
    values = np.asarray(pixels.values)
    if values.dtype != np.uint8 or values.ndim not in (2, 3) or values[0, 0].size not in CHANNELS:
        raise ValueError(f"an image of {values.dtype} and shape {values.shape} cannot be written as PNG")
    if values.ndim == 3 and values.shape[2] > 1:
        values = np.asarray(cv2.cvtColor(values, cv2.COLOR_RGB2BGR if values.shape[2] == 3 else cv2.COLOR_RGBA2BGRA))
    done, data = cv2.imencode(".png", values, RESULT_OPTIONS if compressed else INTERMEDIATE_OPTIONS)
    if not done:
        raise ValueError(f"an image of shape {values.shape} cannot be written as PNG")
    return bytes(data)
