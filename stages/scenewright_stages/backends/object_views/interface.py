"""Interface of backends that generate views of an object from other sides.

Input and output images show only the object on a plain background. Images are float32 sRGB in [0, 1], shape (H, W, 3).
Calls may come from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from scenewright_stages.backends.runtime.capability import Backend, Capability
from scenewright_stages.vision.types import Float32Array


@dataclass(frozen=True)
class Camera:
    """A viewpoint.

    Attributes:
        azimuth: degrees around the object; 0 is the photo's own side, 90 the right side.
        elevation: degrees above eye level.
        distance: how much of the image the object fills: ``close-up``, ``medium`` or ``wide``.
    """

    azimuth: float
    elevation: float
    distance: str = "medium"


OnView = Callable[[int], None]
"""Is told how many views are ready."""


@runtime_checkable
class ViewPainter(Backend, Protocol):
    """Generates views of an object."""

    def views(
        self, srgb: Float32Array, alpha: Float32Array, cameras: Sequence[Camera], seed: int, on_view: OnView
    ) -> list[Float32Array]:
        """One square image per camera, with the object on a plain background.

        Args:
            srgb: (S, S, 3) float32, the object's colours.
            alpha: (S, S) float32, its matte; must not touch the border.
            cameras: the viewpoints.
            seed: same object, cameras and seed give the same images.
            on_view: progress callback.

        Raises:
            UnsupportedOption: the backend does not support one of the cameras.
            BackendContractError: a result is not finite.
        """


OBJECT_VIEWS = Capability("object-views", ViewPainter)


def on_plain(srgb: Float32Array, alpha: Float32Array, level: float) -> Float32Array:
    """Composites the object over a plain background.

    Args:
        srgb: (S, S, 3) float32.
        alpha: (S, S) float32.
        level: of the background, in [0, 1].

    Raises:
        ValueError: the image is not square, or its size differs from the matte's.
    """
    if srgb.shape[0] != srgb.shape[1] or alpha.shape != srgb.shape[:2]:
        raise ValueError(f"a square picture and its matte are needed, not {srgb.shape} and {alpha.shape}")
    share = np.clip(alpha, 0, 1)[..., None]
    return np.clip(share * srgb + (1 - share) * np.float32(level), 0, 1).astype(np.float32)
