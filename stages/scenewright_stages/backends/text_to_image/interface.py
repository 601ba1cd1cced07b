"""Interface of text-to-image models."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from scenewright_stages.backends.runtime.capability import Backend, Capability
from scenewright_stages.backends.runtime.errors import BackendContractError
from scenewright_stages.vision.types import Float32Array


@runtime_checkable
class TextToImage(Backend, Protocol):
    """Generates images from texts."""

    def draw(self, prompt: str, size: int, seed: int = 0) -> Float32Array:
        """A square image of a text.

        Args:
            prompt: what to show.
            size: side in pixels.
            seed: the same prompt, size and seed give the same image.

        Returns:
            (size, size, 3) float32 sRGB in [0, 1].

        Raises:
            BackendContractError: the image is not finite.
        """


TEXT_TO_IMAGE = Capability("text-to-image", TextToImage)


def check_drawn(picture: Float32Array) -> Float32Array:
    """The image clipped to [0, 1]. Raises BackendContractError unless it is finite."""
    if not np.isfinite(picture).all():
        raise BackendContractError("the drawn picture holds values that are not finite")
    return np.clip(picture, 0, 1).astype(np.float32)
