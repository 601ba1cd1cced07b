"""Relighting of known surfaces, in linear light."""

from scenewright_stages.relight.shading.exposure import LUMINANCE, gain_for, mean_luminance
from scenewright_stages.relight.shading.fitting import LightEstimate, estimate_light
from scenewright_stages.relight.shading.lights import Light, LightRanges, colour_of_kelvin, direction_of, sample_light
from scenewright_stages.relight.shading.patterns import PATTERNS, shadow_pattern, soft_shadow
from scenewright_stages.relight.shading.surfaces import shade

__all__ = [
    "LUMINANCE",
    "PATTERNS",
    "Light",
    "LightEstimate",
    "LightRanges",
    "colour_of_kelvin",
    "direction_of",
    "estimate_light",
    "gain_for",
    "mean_luminance",
    "sample_light",
    "shade",
    "shadow_pattern",
    "soft_shadow",
]
