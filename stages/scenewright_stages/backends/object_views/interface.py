"""What a stage may ask of a backend that shows a thing from other sides.

The thing stands alone on a plain background, in the pictures that go in and in those that come out. Images are float32
sRGB in [0, 1], shape (H, W, 3). Calls may come from several threads at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from scenewright_stages.backends.capability import Backend, Capability, FloatImage


@dataclass(frozen=True)
class Camera:
    """From where the thing is seen.

    Attributes:
        azimuth: degrees around the thing; 0 is the photo's own side, 90 the right one.
        elevation: degrees above eye level.
        distance: how much of the picture the thing fills: ``close-up``, ``medium`` or ``wide``.
    """

    azimuth: float
    elevation: float
    distance: str = "medium"


OnView = Callable[[int], None]
"""Is told how many views are ready."""


@runtime_checkable
class ViewPainter(Backend, Protocol):
    """Shows a thing from other sides."""

    def views(
        self, srgb: FloatImage, alpha: FloatImage, cameras: Sequence[Camera], seed: int, on_view: OnView
    ) -> list[FloatImage]:
        """One square picture for each camera, the thing on a plain background.

        Args:
            srgb: (S, S, 3) float32, the thing's colours.
            alpha: (S, S) float32, its matte; it does not touch the border.
            cameras: from where to show it.
            seed: same thing, cameras and seed give the same pictures.
            on_view: progress.

        Raises:
            UnsupportedOption: the backend does not know one of the cameras.
            BackendContractError: an answer is not finite.
        """


OBJECT_VIEWS = Capability("object-views", ViewPainter)


def on_plain(srgb: FloatImage, alpha: FloatImage, level: float) -> FloatImage:
    """The thing on a plain background.

    Args:
        srgb: (S, S, 3) float32.
        alpha: (S, S) float32.
        level: of the background, in [0, 1].

    Raises:
        ValueError: the picture is not square, or matte and picture differ in size.
    """
    if srgb.shape[0] != srgb.shape[1] or alpha.shape != srgb.shape[:2]:
        raise ValueError(f"a square picture and its matte are needed, not {srgb.shape} and {alpha.shape}")
    share = np.clip(alpha, 0, 1)[..., None]
    return np.clip(share * srgb + (1 - share) * np.float32(level), 0, 1).astype(np.float32)
