"""Compiled shading of every pixel."""

# Compiled functions take their arrays one by one and are typed by the compiler.
# mypy: allow-untyped-defs

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def shade_pixels(albedo, normals, settings, shadow):
    """See `surfaces.shade`; settings: direction, ambient, colour, hardness, specular, shininess. shadow may be 1x1."""
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
