"""Which light made an image, when albedo and normals are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.shading.lights import Vector

Float32Array = NDArray[np.float32]

_LEAST_ALBEDO = 0.02
_ROUNDS = 12


@dataclass(frozen=True)
class LightEstimate:
    """A distant light, fitted.

    Attributes:
        direction: unit vector toward the light, camera frame.
        direct: linear luminance of the direct light on a white surface that faces it.
        ambient: linear luminance of a white surface in its shadow.
        residual: root mean square of what the fit leaves, in units of the shading.
    """

    direction: Vector
    direct: float
    ambient: float
    residual: float


def luminance_from_linear(linear: NDArray[np.floating]) -> NDArray[np.float32]:
    """(..., 3) linear RGB to (...) relative luminance by the weights of ITU-R BT.709; float32."""
    return np.asarray(linear, np.float32) @ np.array((0.2126, 0.7152, 0.0722), np.float32)


def estimate_light(
    relit_linear: Float32Array, albedo_linear: Float32Array, normals: Float32Array, mask: NDArray[np.bool_]
) -> LightEstimate:
    """Fit ``ambient + direct * max(0, n.l)`` to the ratio of image and albedo by alternating least squares.

    Pixels count as lit where the present light reaches them; those in shadow only tell the ambient level.

    Args:
        relit_linear, albedo_linear: (H, W, 3) float32 linear.
        normals: (H, W, 3) float32 unit vectors, camera frame.
        mask: (H, W) bool: the pixels that count; those with hardly any albedo are left out.

    Raises:
        ValueError: fewer than 10 pixels count, or their normals span no space.
    """
    albedo = luminance_from_linear(albedo_linear)
    used = mask & (albedo > _LEAST_ALBEDO)
    if used.sum() < 10:
        raise ValueError("fewer than 10 pixels tell about the light")
    shading = (luminance_from_linear(relit_linear)[used] / albedo[used]).astype(np.float64)
    vectors = normals[used].astype(np.float64)
    lit = np.ones(len(vectors), bool)
    for _ in range(_ROUNDS):
        design = np.column_stack([vectors * lit[:, None], np.ones(len(vectors))])
        solution, _, rank, _ = np.linalg.lstsq(design, shading, rcond=None)
        if rank < 4:
            raise ValueError("the normals point along a plane: the light cannot be told")
        next_lit = vectors @ solution[:3] > 0
        if (next_lit == lit).all():
            break
        lit = next_lit
    direct = float(np.linalg.norm(solution[:3]))
    x, y, z = (solution[:3] / max(direct, 1e-12)).tolist()
    residual = float(np.sqrt(np.mean((design @ solution - shading) ** 2)))
    return LightEstimate((x, y, z), direct, float(solution[3]), residual)
