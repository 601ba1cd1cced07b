"""Estimates the light of an image from known albedo and normals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.relight.shading.exposure import LUMINANCE
from scenewright_stages.relight.shading.lights import Vector
from scenewright_stages.vision.types import Float32Array

_LEAST_ALBEDO = 0.02
_ROUNDS = 12


@dataclass(frozen=True)
class LightEstimate:
    """A fitted distant light.

    Attributes:
        direction: unit vector towards the light, camera frame.
        direct: linear luminance of the direct light on a white surface that faces it.
        ambient: linear luminance of a white surface in shadow.
        residual: RMS error of the fit, in units of the shading.
    """

    direction: Vector
    direct: float
    ambient: float
    residual: float

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        numbers = {name: round(getattr(self, name), 4) for name in ("direct", "ambient", "residual")}
        return {"direction": [round(value, 4) for value in self.direction], **numbers}


def estimate_light(
    relit_linear: Float32Array,
    albedo_linear: Float32Array,
    normals: Float32Array,
    mask: NDArray[np.bool_],
    shadow: Float32Array | None = None,
) -> LightEstimate:
    """Fits ``ambient + direct * max(0, n.l)`` to the ratio of image and albedo by alternating least squares.

    Pixels reached by the current light estimate count as lit; the others only determine the ambient level.

    Args:
        relit_linear, albedo_linear: (H, W, 3) float32 linear.
        normals: (H, W, 3) float32 unit vectors, camera frame.
        mask: (H, W) bool: the pixels to use; those with almost no albedo are left out.
        shadow: (H, W) float32 in [0, 1], visibility of the direct light; None = 1.

    Raises:
        ValueError: fewer than 10 usable pixels, or their normals are degenerate.
    """
    albedo = np.asarray(albedo_linear, np.float32) @ LUMINANCE
    used = mask & (albedo > _LEAST_ALBEDO)
    if used.sum() < 10:
        raise ValueError("fewer than 10 pixels tell about the light")
    shading = (np.asarray(relit_linear[used], np.float32) @ LUMINANCE / albedo[used]).astype(np.float64)
    vectors = normals[used].astype(np.float64)
    arrives = np.ones(len(vectors)) if shadow is None else shadow[used].astype(np.float64)
    lit = np.ones(len(vectors), bool)
    for _ in range(_ROUNDS):
        design = np.column_stack([vectors * (lit * arrives)[:, None], np.ones(len(vectors))])
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
