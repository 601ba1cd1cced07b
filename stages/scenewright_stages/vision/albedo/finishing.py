"""From what a method finds to albedo and shading at full size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision import curves
from scenewright_stages.vision.albedo import finishing_kernels

Float32Array = NDArray[np.float32]
Estimate = tuple[Float32Array, Float32Array]


def with_shading(srgb: Float32Array, albedo_srgb: Float32Array, blend: float) -> Estimate:
    """The albedo with the photograph mixed in, and the ratio of the luminances as its shading."""
    made: Estimate = finishing_kernels.blended_with_shading(srgb, albedo_srgb, np.float32(blend), curves.LINEAR_TABLE)
    return made


def divided(srgb: Float32Array, shading: Float32Array, blend: float) -> Estimate:
    """The photograph over its shading (h, w), which is enlarged; values above white become white."""
    tables = (curves.LINEAR_TABLE, curves.SRGB_TABLE)
    made: Estimate = finishing_kernels.divided(srgb, shading, np.float32(blend), *tables)
    return made
