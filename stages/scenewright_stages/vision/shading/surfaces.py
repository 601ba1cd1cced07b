"""Shading of an albedo by one light: Lambert's law with an optional wrap, Phong's highlight."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

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
    shaded: Float32Array = shade_pixels(albedo_linear, normals, settings, arrives)
    return shaded


def warm_up() -> None:
    """Compile the kernels, or find them compiled."""
    pixels = np.zeros((4, 4, 3), np.float32)
    pixels[..., 2] = -1
    for shadow in (None, np.ones((4, 4), np.float32)):
        shade(pixels, pixels, Light((0.0, 0.0, -1.0), specular=0.1), shadow)


@njit(cache=True, nogil=True)
def shade_pixels(albedo, normals, settings, shadow):
    """See `shade`; settings: direction, ambient, colour, hardness, specular, shininess. shadow may be 1x1."""
    height, width = albedo.shape[:2]
    result = np.empty((height, width, 3), np.float32)
    x, y, z, ambient = settings[0], settings[1], settings[2], settings[3]
    specular, shininess = settings[8], settings[9]
    zero, one = np.float32(0.0), np.float32(1.0)
    wrap = (one - settings[7]) * np.float32(0.5)
    scale = (one - ambient) / (one + wrap)
    everywhere = shadow.shape[0] == 1 and shadow.shape[1] == 1
    for row in range(height):
        for column in range(width):
            cosine = normals[row, column, 0] * x + normals[row, column, 1] * y + normals[row, column, 2] * z
            arrives = shadow[0, 0] if everywhere else shadow[row, column]
            direct = max(cosine + wrap, zero) * scale * arrives
            highlight = zero
            if specular > zero and cosine > zero:
                # r.v with v = (0, 0, -1)
                mirrored = z - np.float32(2.0) * cosine * normals[row, column, 2]
                if mirrored > zero:
                    highlight = specular * arrives * mirrored**shininess
            for channel in range(3):
                tint = settings[4 + channel]
                value = albedo[row, column, channel] * (ambient + direct * tint) + highlight * tint
                result[row, column, channel] = min(max(value, zero), one)
    return result
