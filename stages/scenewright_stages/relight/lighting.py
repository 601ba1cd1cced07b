"""Draws the new light of a sample from the ranges of the spec, seeded, as plain data for its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.relight.light_params import Degradation, DegradationParams, ShadowPattern, WeightsParams
from scenewright_stages.relight.shading import Light, LightRanges, colour_of_kelvin, sample_light, shadow_pattern
from scenewright_stages.vision.types import Float32Array

SHINING: frozenset[Degradation] = frozenset({"specular", "advancedShading"})
HARD_SHADOWED: frozenset[Degradation] = frozenset({"hardShadow", "advancedShading"})
FROM_THE_CAMERA = (0.0, 0.0, -1.0)


@dataclass(frozen=True)
class Shadow:
    """A procedural shadow pattern.

    Attributes:
        pattern: its kind.
        opacity: share of the direct light that its darkest part blocks, in [0, 1].
        softness: of its edge, as a share of the image's longer side.
        seed: of the pattern.
    """

    pattern: ShadowPattern
    opacity: float
    softness: float
    seed: int

    def arrives(self, shape: tuple[int, int]) -> Float32Array:
        """(H, W) float32 in [0, 1]: the share of the direct light that passes."""
        generator = np.random.default_rng(self.seed)
        return shadow_pattern(self.pattern, shape, generator, self.softness, self.opacity)


@dataclass(frozen=True)
class Draw:
    """The new light of one sample.

    Attributes:
        degradation: its kind.
        light: its gain stays 1 until the stage adjusts it to the person.
        shadow: a pattern in the direct light.
        luminance_ratio: target mean luminance of the person relative to the photograph; None for no adjustment.
    """

    degradation: Degradation
    light: Light
    shadow: Shadow | None
    luminance_ratio: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; the inverse of :meth:`from_dict`."""
        return {
            "degradation": self.degradation,
            "light": self.light.as_dict(),
            "shadow": None if self.shadow is None else dict(vars(self.shadow)),
            "drawn_luminance_ratio": self.luminance_ratio,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Draw:
        """Reads the draw from ``params.json``."""
        shadow = values["shadow"]
        return cls(
            values["degradation"],
            Light.from_dict(values["light"]),
            Shadow(**shadow) if shadow else None,
            values["drawn_luminance_ratio"],
        )


def normalised(weights: WeightsParams) -> dict[Degradation, float]:
    """Probability of each kind of light; sums to 1."""
    given: dict[Degradation, float] = {
        "softShading": weights.soft_shading,
        "hardShadow": weights.hard_shadow,
        "specular": weights.specular,
        "advancedShading": weights.advanced_shading,
    }
    total = sum(given.values())
    return {name: weight / total for name, weight in given.items()}


def drawn(params: DegradationParams, seed: int) -> Draw:
    """The light of one sample. The number of draws is constant, so changing one range leaves other values unchanged."""
    generator = np.random.default_rng(seed)
    choices = generator.random(5)
    probabilities = normalised(params.weights)
    kind = _chosen(list(probabilities), list(probabilities.values()), choices[0])
    light = _light(params, kind, generator)
    shadow = _shadow(params, kind, choices[1:], int(generator.integers(2**63)))
    # A separate random stream, so that older data sets keep their directions and patterns.
    more = np.random.default_rng([seed, 1])
    shares = more.random(4)
    ratio = None if params.exposure == "asLit" else _between(params.luminance_ratio_range, shares[0])
    around = (
        params.advanced.ambient_temperature_range if kind == "advancedShading" else params.ambient_temperature_range
    )
    light = replace(light, ambient_colour_linear=_colour(around, shares[1]))
    if shares[2] < params.second_light.probability:
        light = _with_second(light, params, more, shares[3])
    return Draw(kind, light, shadow, ratio)


def _light(params: DegradationParams, kind: Degradation, generator: np.random.Generator) -> Light:
    own = params.advanced if kind == "advancedShading" else params
    light = sample_light(
        generator,
        LightRanges(
            azimuth_degrees=_pair(params.azimuth_range),
            elevation_degrees=_pair(params.elevation_range),
            ambient=_pair(own.ambient_range),
            kelvin=_pair(own.temperature_range),
            hardness=_pair(own.hardness_range),
            specular=_pair(params.specular_range) if kind in SHINING else (0.0, 0.0),
            shininess=_pair(params.shininess_range),
        ),
    )
    if kind == "hardShadow":
        # Uniform light, so that only the pattern changes the person.
        return Light(FROM_THE_CAMERA, light.ambient, light.colour_linear, 0.0)
    return light


def _with_second(light: Light, params: DegradationParams, generator: np.random.Generator, share: float) -> Light:
    ranges = LightRanges(
        azimuth_degrees=(0.0, 360.0),
        elevation_degrees=_pair(params.elevation_range),
        kelvin=_pair(params.second_light.temperature_range),
    )
    second = sample_light(generator, ranges)
    return replace(
        light,
        second_direction=second.direction,
        second_colour_linear=second.colour_linear,
        second_strength=_between(params.second_light.strength_range, share),
    )


def _colour(kelvin: list[float], share: float) -> tuple[float, float, float]:
    """Interpolates in inverse temperature (mireds), which is perceptually even."""
    return colour_of_kelvin(1.0 / _between([1.0 / kelvin[0], 1.0 / kelvin[1]], share))


def _shadow(params: DegradationParams, kind: Degradation, choices: NDArray[np.float64], seed: int) -> Shadow | None:
    hard = kind in HARD_SHADOWED
    if not hard and choices[0] >= params.shadow.probability:
        return None
    patterns = params.shadow.patterns
    pattern = _chosen(patterns, [1 / len(patterns)] * len(patterns), choices[1])
    opacity = params.shadow.hard_opacity_range if hard else params.shadow.subtle_opacity_range
    return Shadow(pattern, _between(opacity, choices[2]), _between(params.shadow.softness_range, choices[3]), seed)


def _chosen(names: Any, probabilities: list[float], draw: float) -> Any:
    """The name whose interval of [0, 1) contains the draw; never one with probability 0."""
    total = 0.0
    for name, probability in zip(names, probabilities, strict=True):
        total += probability
        if draw < total:
            return name
    return max(zip(names, probabilities, strict=True), key=lambda pair: pair[1])[0]


def _between(ends: list[float], share: float) -> float:
    return ends[0] + (ends[1] - ends[0]) * float(share)


def _pair(ends: list[float]) -> tuple[float, float]:
    return (ends[0], ends[1])
