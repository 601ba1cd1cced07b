"""Resampling of float images.

Thin wrappers over OpenCV with typed results, used wherever something is estimated on a reduced copy.
"""

from __future__ import annotations

import cv2
import numpy as np

from scenewright_stages.vision.types import Float32Array


def reduced(image: Float32Array, size: tuple[int, int]) -> Float32Array:
    """(height, width[, C]) by area averaging; size is (width, height) as in OpenCV."""
    result: Float32Array = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)
    return result


def enlarged(image: Float32Array, size: tuple[int, int]) -> Float32Array:
    """(height, width[, C]) by bilinear interpolation; size is (width, height) as in OpenCV."""
    result: Float32Array = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.float32)
    return result


def reduced_size(shape: tuple[int, ...], longest: int, least: int = 1) -> tuple[tuple[int, int], float]:
    """(width, height) with a longer side of at most `longest` (each at least `least`), and the scale."""
    scale = min(1.0, longest / max(shape[:2]))
    return (max(least, round(shape[1] * scale)), max(least, round(shape[0] * scale))), scale
