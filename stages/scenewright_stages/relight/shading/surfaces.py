"""Shading of an albedo by one light: Lambert's law with an optional wrap, Phong's highlight."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

from __future__ import annotations

import numpy as np
from numba import njit

from scenewright_stages.relight.shading.lights import Light
from scenewright_stages.vision.types import Float32Array

RED, GREEN, BLUE = np.float32(0.2126), np.float32(0.7152), np.float32(0.0722)
GLARE = np.float32(0.4)
"""Share of the luminance above white that a pixel shows by fading to white; the rest is lost, as on film."""
TINY = np.float32(1e-6)


def shade(
    albedo_linear: Float32Array,
    normals: Float32Array,
    light: Light,
    shadow: Float32Array | None = None,
    white: float = 1.0,
) -> Float32Array:
    """Renders a surface under a light.

    ``gain * (albedo * (ambient * ambient_colour + (1 - ambient) * (colour * s * d + strength_2 * colour_2 * d_2))
    + specular * colour * s * max(0, r.v)^shininess)`` with the shadow s, the view direction v = (0, 0, -1), the
    mirrored light r = 2 (n.l) n - l (only where n.l > 0), and ``d = max(0, (n.l + w) / (1 + w))`` with the wrap
    w = (1 - hardness) / 2; for a hard light d is Lambert's cosine.

    Args:
        albedo_linear: (H, W, 3) float32 linear.
        normals: (H, W, 3) float32 unit vectors in the camera's frame (facing it: z = -1).
        light: the light.
        shadow: (H, W) float32 in [0, 1], visibility of the direct light; None = 1.
        white: the brightest value. A pixel with a channel above it is darkened to it as a whole, and gets back a part
            of the luminance it lost as white: skin keeps its hue, where clipping each channel would turn it yellow.

    Returns:
        (H, W, 3) float32 linear in [0, white].
    """
    arrives = np.ones((1, 1), np.float32) if shadow is None else shadow
    numbers = (light.ambient, light.hardness, light.specular, light.shininess, light.second_strength, light.gain, white)
    vectors = (
        light.direction,
        light.colour_linear,
        light.ambient_colour_linear,
        light.second_direction,
        light.second_colour_linear,
    )
    shaded: Float32Array = shade_pixels(
        albedo_linear, normals, np.array(vectors, np.float32), np.array(numbers, np.float32), arrives
    )
    return shaded


def warm_up() -> None:
    """Compile the kernels, or find them compiled."""
    pixels = np.zeros((4, 4, 3), np.float32)
    pixels[..., 2] = -1
    for shadow in (None, np.ones((4, 4), np.float32)):
        shade(pixels, pixels, Light((0.0, 0.0, -1.0), specular=0.1), shadow)


@njit(cache=True, nogil=True)
def shade_pixels(albedo, normals, vectors, numbers, shadow):
    """See `shade`, which orders vectors and numbers; shadow may be 1x1."""
    height, width = albedo.shape[:2]
    result = np.empty((height, width, 3), np.float32)
    direction, colour, around, second, second_colour = vectors[0], vectors[1], vectors[2], vectors[3], vectors[4]
    ambient, specular, shininess, gain, white = numbers[0], numbers[2], numbers[3], numbers[5], numbers[6]
    zero, one = np.float32(0.0), np.float32(1.0)
    wrap = (one - numbers[1]) * np.float32(0.5)
    scale = (one - ambient) / (one + wrap)
    second_scale = scale * numbers[4]
    everywhere = shadow.shape[0] == 1 and shadow.shape[1] == 1
    for row in range(height):
        for column in range(width):
            normal = normals[row, column]
            cosine = normal[0] * direction[0] + normal[1] * direction[1] + normal[2] * direction[2]
            arrives = shadow[0, 0] if everywhere else shadow[row, column]
            direct = max(cosine + wrap, zero) * scale * arrives
            fill = zero
            if second_scale > zero:
                other = normal[0] * second[0] + normal[1] * second[1] + normal[2] * second[2]
                fill = max(other + wrap, zero) * second_scale
            highlight = zero
            if specular > zero and cosine > zero:
                # r.v with v = (0, 0, -1)
                mirrored = direction[2] - np.float32(2.0) * cosine * normal[2]
                if mirrored > zero:
                    highlight = specular * arrives * mirrored**shininess
            brightest = white
            for channel in range(3):
                light = ambient * around[channel] + direct * colour[channel] + fill * second_colour[channel]
                value = max(gain * (albedo[row, column, channel] * light + highlight * colour[channel]), zero)
                brightest = max(brightest, value)
                result[row, column, channel] = value
            if brightest > white:
                lit = result[row, column]
                seen = RED * lit[0] + GREEN * lit[1] + BLUE * lit[2]
                dimmed = seen * white / brightest
                faded = GLARE * (min(seen, white) - dimmed) / max(white - dimmed, TINY)
                for channel in range(3):
                    shown = lit[channel] * white / brightest
                    lit[channel] = min(shown + faded * (white - shown), white)
    return result
