"""One entrance to the albedo estimates without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.albedo import finishing
from scenewright_stages.vision.albedo.gradients import GradientSettings, shading_from_gradients
from scenewright_stages.vision.albedo.lightness import lightness_albedo
from scenewright_stages.vision.albedo.retinex import SCALES, multi_scale_retinex

Float32Array = NDArray[np.float32]
Estimate = tuple[Float32Array, Float32Array]

METHODS = ("retinex", "lab", "classic")


@dataclass(frozen=True)
class AlbedoOptions:
    """How albedo is estimated.

    Attributes:
        blend: in [0, 1], share of the photograph that is mixed into the albedo (15 to 25 % keep it from getting too
            bright).
        scales: standard deviations of the Retinex surrounds, pixels.
        gradients: what the gradient-domain method takes for an edge of the albedo.
    """

    blend: float = 0.0
    scales: tuple[float, ...] = SCALES
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
        mask: (H, W) bool or float32 matte: the subject. Outside it the values only continue smoothly.
        method: ``retinex`` and ``lab`` as the relighting seed has them, ``classic`` = gradient domain.
        options: see :class:`AlbedoOptions`.

    Returns:
        (H, W, 3) float32 albedo in sRGB values, [0, 1], and (H, W) float32 shading in linear light.

    Raises:
        ValueError: unknown method or a blend outside [0, 1].
    """
    chosen = options if isinstance(options, AlbedoOptions) else AlbedoOptions.from_mapping(options or {})
    if not 0 <= chosen.blend <= 1:
        raise ValueError(f"a blend of {chosen.blend} is not between 0 and 1")
    estimates: dict[str, Callable[[], Estimate]] = {
        "retinex": lambda: finishing.with_shading(srgb, multi_scale_retinex(srgb, chosen.scales), chosen.blend),
        "lab": lambda: finishing.with_shading(srgb, lightness_albedo(srgb), chosen.blend),
        "classic": lambda: finishing.divided(srgb, _subject_shading(srgb, mask, chosen), chosen.blend),
    }
    if method not in estimates:
        raise ValueError(f"{method!r} is no albedo method: {', '.join(estimates)}")
    return estimates[method]()


def _subject_shading(srgb: Float32Array, mask: NDArray[Any], options: AlbedoOptions) -> Float32Array:
    return shading_from_gradients(srgb, np.asarray(mask, np.float32), options.gradients)


def warm_up() -> None:
    """Compile the kernels, or find them compiled."""
    tile = np.random.default_rng(0).random((48, 48, 3), np.float32)
    mask = np.zeros((48, 48), np.float32)
    mask[8:40, 8:40] = 1
    for method in METHODS:
        estimate_albedo(tile, mask, method)
    multi_scale_retinex(tile, (1.5, 15.0))
