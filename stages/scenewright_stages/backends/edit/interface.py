"""Interface of instruction-based image editors.

Images are float32 sRGB in [0, 1], shape (H, W, 3). Calls may come from several threads at once.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from scenewright_stages.backends.runtime.capability import Backend, Capability
from scenewright_stages.backends.runtime.errors import BackendContractError
from scenewright_stages.vision.types import Float32Array


@runtime_checkable
class Editor(Backend, Protocol):
    """Changes images by instructions."""

    def edit(
        self, srgb: Float32Array, instruction: str, seed: int = 0, size: tuple[int, int] | None = None
    ) -> Float32Array:
        """The edited image. Its content may move freely.

        Args:
            srgb: (H, W, 3) float32 in [0, 1].
            instruction: what to change, in plain words.
            seed: same image, instruction, seed and size give the same result.
            size: width and height of the result in pixels; None: those of the image.

        Returns:
            (height, width, 3) float32 in [0, 1].

        Raises:
            BackendContractError: the result is not finite.
        """


EDIT = Capability("edit", Editor)


def check_edit_request(srgb: Float32Array, instruction: str) -> None:
    """Refuses an invalid request.

    Raises:
        ValueError: wrong shape, dtype or range, or an empty instruction.
    """
    if srgb.ndim != 3 or srgb.shape[2] != 3 or srgb.dtype != np.float32:
        raise ValueError(f"srgb must be float32 (H, W, 3), not {srgb.dtype} {srgb.shape}")
    if not (srgb.min() >= 0 and srgb.max() <= 1):
        raise ValueError("pixels must be finite and inside [0, 1]")
    if not instruction.strip():
        raise ValueError("the instruction is empty")


def check_edited(picture: Float32Array) -> Float32Array:
    """The result clipped to [0, 1]. Raises BackendContractError if it is not finite."""
    if not np.isfinite(picture).all():
        raise BackendContractError("the edited picture has values that are not finite")
    return np.clip(picture, 0.0, 1.0).astype(np.float32)
