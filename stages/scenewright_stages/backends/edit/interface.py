"""What a stage may ask of an editor: the picture that an instruction makes of another one.

Images are float32 sRGB in [0, 1], shape (H, W, 3). Calls may come from several threads at once.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from scenewright_stages.backends.capability import Backend, Capability, FloatImage
from scenewright_stages.backends.errors import BackendContractError


@runtime_checkable
class Editor(Backend, Protocol):
    """Changes pictures as instructions say."""

    def edit(
        self, srgb: FloatImage, instruction: str, seed: int = 0, size: tuple[int, int] | None = None
    ) -> FloatImage:
        """The changed picture. Nothing in it need be where it was.

        Args:
            srgb: (H, W, 3) float32 in [0, 1].
            instruction: what to change, in plain words.
            seed: same picture, instruction, seed and size give the same result.
            size: width and height of the result in pixels; None: those of the picture.

        Returns:
            (height, width, 3) float32 in [0, 1].

        Raises:
            BackendContractError: the answer is not finite.
        """


EDIT = Capability("edit", Editor)


def check_edit_request(srgb: FloatImage, instruction: str) -> None:
    """Refuse what no editor can work on.

    Raises:
        ValueError: wrong shape, type or range, or an instruction without a word.
    """
    if srgb.ndim != 3 or srgb.shape[2] != 3 or srgb.dtype != np.float32:
        raise ValueError(f"srgb must be float32 (H, W, 3), not {srgb.dtype} {srgb.shape}")
    if not (srgb.min() >= 0 and srgb.max() <= 1):
        raise ValueError("pixels must be finite and inside [0, 1]")
    if not instruction.strip():
        raise ValueError("the instruction is empty")


def check_edited(picture: FloatImage) -> FloatImage:
    """The answer, clipped to [0, 1]. Raises BackendContractError if it is not finite."""
    if not np.isfinite(picture).all():
        raise BackendContractError("the edited picture has values that are not finite")
    return np.clip(picture, 0.0, 1.0).astype(np.float32)
