"""From what a method finds to albedo and shading at full size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision import curves
from scenewright_stages.vision.albedo import finishing_kernels

Float32Array = NDArray[np.float32]


def with_shading(srgb: Float32Array, albedo_srgb: Float32Array, blend: float) -> tuple[Float32Array, Float32Array]:
    """The albedo with the photograph mixed in, and the ratio of the luminances as its shading."""
    return finishing_kernels.blended_with_shading(srgb, albedo_srgb, np.float32(blend), curves.LINEAR_TABLE)


def divided(srgb: Float32Array, shading: Float32Array, blend: float) -> tuple[Float32Array, Float32Array]:
    """The photograph over its shading (h, w), which is enlarged; values above white become white."""
    return finishing_kernels.divided(srgb, shading, np.float32(blend), curves.LINEAR_TABLE, curves.SRGB_TABLE)
