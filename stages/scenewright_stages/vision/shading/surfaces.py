"""Shading of an albedo by one light: Lambert's law with an optional wrap, Phong's highlight."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.shading import kernels
from scenewright_stages.vision.shading.lights import Light

Float32Array = NDArray[np.float32]


def shade(
    albedo_linear: Float32Array, normals: Float32Array, light: Light, shadow: Float32Array | None = None
) -> Float32Array:
    """The image of a surface under a light.

    ``albedo * (ambient + (1 - ambient) * colour * s * d) + specular * colour * s * max(0, r.v)^shininess`` with the
    shadow s, the view direction v = (0, 0, -1), the mirrored light r = 2 (n.l) n - l (only where n.l > 0), and
    ``d = max(0, (n.l + w) / (1 + w))`` with the wrap w = (1 - hardness) / 2; for a hard light d is Lambert's cosine.

    Args:
        albedo_linear: (H, W, 3) float32 linear.
        normals: (H, W, 3) float32 unit vectors in the camera's frame (facing it: z = -1).
        light: the light.
        shadow: (H, W) float32 in [0, 1], what share of the direct light arrives; None = all.

    Returns:
        (H, W, 3) float32 linear, clipped to [0, 1].
    """
    arrives = np.ones((1, 1), np.float32) if shadow is None else shadow
    settings = np.array(
        [*light.direction, light.ambient, *light.colour_linear, light.hardness, light.specular, light.shininess],
        np.float32,
    )
    shaded: Float32Array = kernels.shade_pixels(albedo_linear, normals, settings, arrives)
    return shaded


def warm_up() -> None:
    """Compile the kernels, or find them compiled."""
    pixels = np.zeros((4, 4, 3), np.float32)
    pixels[..., 2] = -1
    for shadow in (None, np.ones((4, 4), np.float32)):
        shade(pixels, pixels, Light((0.0, 0.0, -1.0), specular=0.1), shadow)
