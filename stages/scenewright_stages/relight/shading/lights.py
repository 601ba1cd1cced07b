"""Distant lights, and their random sampling.

Directions point towards the light in the camera's frame (OpenCV: x right, y down, z forward), so a light behind the
camera has negative z.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Range = tuple[float, float]
Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """A distant light with an ambient level, and optionally a second light.

    A white surface that faces the light has the linear value
    ``gain * (ambient * ambient_colour_linear + (1 - ambient) * colour_linear)``.

    Attributes:
        direction: unit vector towards the light.
        ambient: in [0, 1], share of ambient light.
        colour_linear: RGB of the direct light, at most 1 each.
        hardness: in [0, 1]; 1 = a point light (Lambert's cosine). Smaller values wrap the light around the terminator,
            as a large source does (half way round at 0).
        specular: linear strength of the highlight; 0 = a matt surface.
        shininess: exponent of Phong's (1975) highlight.
        ambient_colour_linear: RGB of the ambient light, at most 1 each.
        second_direction: unit vector towards the second light, which has no shadow and no highlight.
        second_colour_linear: its RGB, at most 1 each.
        second_strength: relative to the first light; 0 = no second light.
        gain: factor of all light.
    """

    direction: Vector
    ambient: float = 0.7
    colour_linear: Vector = (1.0, 1.0, 1.0)
    hardness: float = 1.0
    specular: float = 0.0
    shininess: float = 32.0
    ambient_colour_linear: Vector = (1.0, 1.0, 1.0)
    second_direction: Vector = (0.0, 0.0, -1.0)
    second_colour_linear: Vector = (1.0, 1.0, 1.0)
    second_strength: float = 0.0
    gain: float = 1.0

    @property
    def azimuth_degrees(self) -> float:
        """In [0, 360): 0 = from the image's right, 90 = from above, 180 = from the left, 270 = from below."""
        return math.degrees(math.atan2(-self.direction[1], self.direction[0])) % 360.0

    @property
    def elevation_degrees(self) -> float:
        """Above the image plane towards the camera: 90 = from the camera, 0 = from the side, below 0 = from behind."""
        return math.degrees(math.asin(max(-1.0, min(1.0, -self.direction[2]))))

    def as_dict(self) -> dict[str, Any]:
        """All fields and both angles as plain JSON values."""
        angles = {"azimuth_degrees": self.azimuth_degrees, "elevation_degrees": self.elevation_degrees}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {**plain, **angles}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Light:
        """The light of :meth:`as_dict`; the angles are ignored. KeyError if a field is missing."""
        fields: dict[str, Any] = {}
        for name in cls.__dataclass_fields__:
            value = values[name]
            fields[name] = tuple(value) if isinstance(value, list) else value
        return cls(**fields)


@dataclass(frozen=True)
class LightRanges:
    """Ranges of light parameters, each sampled uniformly between a low and a high value.

    The defaults for angles and ambient are those of the relighting seed (relightingDataGen's ``mvp`` configuration).

    Attributes:
        azimuth_degrees, elevation_degrees: see :class:`Light`; the elevation is sampled uniformly over the sphere's
            area.
        ambient, hardness, specular, shininess: see :class:`Light`.
        kelvin: temperature of the direct light; sampled uniformly in its inverse, which is perceptually even.
    """

    azimuth_degrees: Range = (0.0, 360.0)
    elevation_degrees: Range = (10.0, 80.0)
    ambient: Range = (0.6, 0.85)
    kelvin: Range = (6500.0, 6500.0)
    hardness: Range = (1.0, 1.0)
    specular: Range = (0.0, 0.0)
    shininess: Range = (32.0, 32.0)


def direction_of(azimuth_degrees: float, elevation_degrees: float) -> Vector:
    """Unit vector towards a light at those angles, see :class:`Light`."""
    azimuth, elevation = math.radians(azimuth_degrees), math.radians(elevation_degrees)
    flat = math.cos(elevation)
    return (flat * math.cos(azimuth), -flat * math.sin(azimuth), -math.sin(elevation))


def sample_light(generator: np.random.Generator, ranges: LightRanges | None = None) -> Light:
    """Samples a light with a constant number of draws, so that changing one range leaves other values unchanged."""
    ranges = ranges or LightRanges()
    draw = generator.random(7)
    low, high = (math.sin(math.radians(angle)) for angle in ranges.elevation_degrees)
    elevation = math.degrees(math.asin(low + (high - low) * draw[1]))
    cool, warm = (1.0 / kelvin for kelvin in ranges.kelvin)
    return Light(
        direction=direction_of(_between(ranges.azimuth_degrees, draw[0]), elevation),
        ambient=_between(ranges.ambient, draw[2]),
        colour_linear=colour_of_kelvin(1.0 / (cool + (warm - cool) * draw[3])),
        hardness=_between(ranges.hardness, draw[4]),
        specular=_between(ranges.specular, draw[5]),
        shininess=_between(ranges.shininess, draw[6]),
    )


def colour_of_kelvin(kelvin: float) -> Vector:
    """Linear RGB of daylight or a black body relative to a 6500 K white, largest channel 1; 1667 to 25000 K.

    Chromaticity by Kim et al. (2002, US 7024034) for the black body, then the BT.709 primaries.

    Raises:
        ValueError: the temperature is outside that range.
    """
    if not 1667 <= kelvin <= 25000:
        raise ValueError(f"a colour temperature of {kelvin} K is not between 1667 and 25000")
    colour, white = _black_body(kelvin), _black_body(6500.0)
    balanced = colour / white
    red, green, blue = (balanced / balanced.max()).tolist()
    return red, green, blue


def _black_body(kelvin: float) -> NDArray[np.float64]:
    x = _horizontal(1e3 / kelvin)
    y = _vertical(kelvin, x)
    xyz = np.array([x / y, 1.0, (1 - x - y) / y])
    linear_from_xyz = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])
    linear: NDArray[np.float64] = np.maximum(linear_from_xyz @ xyz, 0.0)
    return linear


def _horizontal(inverse: float) -> float:
    if inverse >= 0.25:
        return -0.2661239 * inverse**3 - 0.2343589 * inverse**2 + 0.8776956 * inverse + 0.179910
    return -3.0258469 * inverse**3 + 2.1070379 * inverse**2 + 0.2226347 * inverse + 0.240390


def _vertical(kelvin: float, x: float) -> float:
    if kelvin <= 2222:
        return -1.1063814 * x**3 - 1.34811020 * x**2 + 2.18555832 * x - 0.20219683
    if kelvin <= 4000:
        return -0.9549476 * x**3 - 1.37418593 * x**2 + 2.09137015 * x - 0.16748867
    return 3.0817580 * x**3 - 5.87338670 * x**2 + 3.75112997 * x - 0.37001483


def _between(limits: Range, share: float) -> float:
    return float(limits[0] + (limits[1] - limits[0]) * share)
