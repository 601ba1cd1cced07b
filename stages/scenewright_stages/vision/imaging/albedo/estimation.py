"""Estimates albedo without weights by one of three methods, each giving albedo and shading at full size.

``retinex`` is in a module of its own. ``lab`` divides the lightness by its own smooth part, the relighting seed's
simple fallback. ``classic`` is Colour Retinex in the gradient domain (Land and McCann 1971; Horn 1974; Grosse et al.
2009): light changes slowly and keeps the chromaticity, albedo changes at edges. Between neighbouring pixels of the
subject the change of log luminance counts as light unless the chromaticity jumps or the change is large. The shading is
the smooth field whose differences fit those, by weighted least squares (a Poisson equation with unequal weights).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.albedo import kernels
from scenewright_stages.vision.imaging.albedo.retinex import SCALES, chroma_keeping_retinex, multi_scale_retinex
from scenewright_stages.vision.imaging.resampling import reduced, reduced_size
from scenewright_stages.vision.types import Float32Array

_GRID = 128
_WHITE_PERCENTILE = 85.0  # that much of the subject is lit less than fully
_STEPS = 120
_TOLERANCE = 1e-4

Estimate = tuple[Float32Array, Float32Array]

METHODS = ("retinex", "lab", "classic")
CHROMAS = ("keep", "original")

_REDUCED_SIDE = 256
_DIAMETER, _SIGMA_VALUE, _SIGMA_SPACE = 9, 75.0, 75.0
_DARKEST = 5.0  # of 100: keeps black from being torn up


@dataclass(frozen=True)
class GradientSettings:
    """What counts as an edge of the albedo, between neighbours on a grid of 128 along the longer side.

    Attributes:
        chroma_edge: change of the log chromaticity (root of the squares' sum over the three channels).
        brightness_edge: change of the log luminance.
    """

    chroma_edge: float = 0.08
    brightness_edge: float = 0.30


def shading_from_gradients(srgb: Float32Array, mask: Float32Array, settings: GradientSettings) -> Float32Array:
    """(h, w) float32 linear shading on a reduced grid; 1 is full light. Continued smoothly outside the subject.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].
        mask: (H, W) float32, the subject's matte.
        settings: see :class:`GradientSettings`.
    """
    size, _ = reduced_size(mask.shape, _GRID, least=2)
    small, inside = reduced(srgb, size), reduced(mask, size)
    if inside.max() < 0.5:
        return np.ones(inside.shape, np.float32)
    logs, chroma = kernels.log_luminance_and_chroma(small, kernels.LINEAR_TABLE)
    edges = np.array([settings.chroma_edge, settings.brightness_edge], np.float32)
    weights, wanted = kernels.differences(logs, chroma, inside, edges)
    log_shading = kernels.fit(weights, wanted, _STEPS, _TOLERANCE)
    level = np.percentile(log_shading[inside > 0.5], _WHITE_PERCENTILE)
    shading: Float32Array = np.exp(log_shading - np.float32(level)).astype(np.float32)
    return shading


@dataclass(frozen=True)
class AlbedoOptions:
    """Options of the albedo estimate.

    Attributes:
        blend: in [0, 1], share of the photograph blended into the albedo (15 to 25 % keep it from becoming too bright).
        scales: standard deviations of the Retinex surrounds, pixels.
        chroma: for Retinex: ``keep`` levels only the subject's intensity, ``original`` levels each channel over the
            whole image.
        gradients: what counts as an albedo edge in the gradient-domain method.
    """

    blend: float = 0.0
    scales: tuple[float, ...] = SCALES
    chroma: str = "keep"
    gradients: GradientSettings = field(default_factory=GradientSettings)

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> AlbedoOptions:
        """From plain values; ``chroma_edge`` and ``brightness_edge`` belong to the gradients. TypeError if unknown."""
        values = dict(options)
        edges = {name: values.pop(name) for name in ("chroma_edge", "brightness_edge") if name in values}
        if "scales" in values:
            values["scales"] = tuple(float(scale) for scale in values["scales"])
        return cls(gradients=GradientSettings(**edges), **values)


def estimate_albedo(
    srgb: Float32Array,
    mask: NDArray[np.bool_] | Float32Array,
    method: str = "classic",
    options: AlbedoOptions | Mapping[str, Any] | None = None,
) -> Estimate:
    """Albedo and shading of the masked subject, with ``linear image = albedo * shading`` before blending.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].
        mask: (H, W) bool or float32 matte of the subject; outside it values are only smooth continuations.
        method: ``retinex`` and ``lab`` after the relighting seed, ``classic`` = gradient domain.
        options: see :class:`AlbedoOptions`.

    Returns:
        (H, W, 3) float32 albedo in sRGB values, [0, 1], and (H, W) float32 shading in linear light.

    Raises:
        ValueError: unknown method or chroma, or a blend outside [0, 1].
    """
    chosen = options if isinstance(options, AlbedoOptions) else AlbedoOptions.from_mapping(options or {})
    if not 0 <= chosen.blend <= 1:
        raise ValueError(f"a blend of {chosen.blend} is not between 0 and 1")
    if chosen.chroma not in CHROMAS:
        raise ValueError(f"{chosen.chroma!r} is not one of {', '.join(CHROMAS)}")
    estimates: dict[str, Callable[[], Estimate]] = {
        "retinex": lambda: _with_shading(srgb, _retinex(srgb, mask, chosen), chosen.blend),
        "lab": lambda: _with_shading(srgb, lightness_albedo(srgb), chosen.blend),
        "classic": lambda: _divided(srgb, _subject_shading(srgb, mask, chosen), chosen.blend),
    }
    if method not in estimates:
        raise ValueError(f"{method!r} is not an albedo method: {', '.join(estimates)}")
    return estimates[method]()


def _retinex(srgb: Float32Array, mask: NDArray[Any], options: AlbedoOptions) -> Float32Array:
    if options.chroma == "original":
        return multi_scale_retinex(srgb, options.scales)
    return chroma_keeping_retinex(srgb, np.asarray(mask, np.float32), options.scales)


def _subject_shading(srgb: Float32Array, mask: NDArray[Any], options: AlbedoOptions) -> Float32Array:
    return shading_from_gradients(srgb, np.asarray(mask, np.float32), options.gradients)


def warm_up() -> None:
    """Compiles the kernels, or loads them from the cache."""
    tile = np.random.default_rng(0).random((48, 48, 3), np.float32)
    mask = np.zeros((48, 48), np.float32)
    mask[8:40, 8:40] = 1
    for method in METHODS:
        estimate_albedo(tile, mask, method)
    multi_scale_retinex(tile, (1.5, 15.0))


def lightness_albedo(srgb: Float32Array) -> Float32Array:
    """(H, W, 3) float32 sRGB in [0, 1] with levelled lightness; mean lightness and hue are preserved."""
    height, width = srgb.shape[:2]
    scale = min(1.0, _REDUCED_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    lab = cv2.cvtColor(srgb, cv2.COLOR_RGB2LAB)
    small = cv2.resize(lab[..., 0], size, interpolation=cv2.INTER_AREA)
    smooth = cv2.bilateralFilter(small, _DIAMETER, _SIGMA_VALUE * 100 / 255, _SIGMA_SPACE)
    light = np.maximum(cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR), _DARKEST)
    gain = np.float32(small.mean()) / light
    lab[..., 0] = np.minimum(lab[..., 0] * gain, 100)
    return np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1)


def _with_shading(srgb: Float32Array, albedo_srgb: Float32Array, blend: float) -> Estimate:
    """The albedo blended with the photograph, and the ratio of luminances as the shading."""
    made: Estimate = kernels.blended_with_shading(srgb, albedo_srgb, np.float32(blend), kernels.LINEAR_TABLE)
    return made


def _divided(srgb: Float32Array, shading: Float32Array, blend: float) -> Estimate:
    """The photograph divided by its upsampled shading (h, w), clipped to white."""
    tables = (kernels.LINEAR_TABLE, kernels.SRGB_TABLE)
    made: Estimate = kernels.divided(srgb, shading, np.float32(blend), *tables)
    return made
