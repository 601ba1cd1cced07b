"""Interface of inpainting and outpainting backends, and the classic backend.

Both capabilities share one interface: an image to outpaint is one with a hole along its border. Images are float32 sRGB
in [0, 1], shape (H, W, 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from scenewright_stages.backends.runtime.capability import Backend, Capability
from scenewright_stages.backends.runtime.errors import BackendContractError
from scenewright_stages.backends.runtime.loading import WeightlessBackend
from scenewright_stages.vision.imaging import inpainting
from scenewright_stages.vision.types import Float32Array, Mask


@dataclass(frozen=True)
class FillGuide:
    """Optional hints for a fill; backends ignore what they cannot use.

    Attributes:
        allowed_source: (H, W) bool, pixels that may be copied (the background side of a disocclusion).
        depth: (H, W) float32 z-depth of the image; holes may be NaN.
        guidance: guidance scale of a generative model; 0 for its own setting.
    """

    allowed_source: Mask | None = None
    depth: Float32Array | None = None
    guidance: float = 0.0


@runtime_checkable
class Inpainter(Backend, Protocol):
    """Fills holes, inside an image or around it."""

    def fill(
        self, srgb: Float32Array, hole: Mask, prompt: str = "", seed: int = 0, guide: FillGuide | None = None
    ) -> Float32Array:
        """Fills the pixels where ``hole`` is set.

        Args:
            srgb: (H, W, 3) float32 in [0, 1]; pixels in the hole are ignored.
            hole: (H, W) bool, True = to be filled.
            prompt: what to show there; backends without text conditioning ignore it.
            seed: same image, hole, prompt and seed give the same result.
            guide: optional hints.

        Returns:
            (H, W, 3) float32 in [0, 1]; pixels outside the hole are bit-identical to the input's.

        Raises:
            BackendContractError: the result is not finite, out of range or has the wrong shape.
        """


INPAINT = Capability("inpaint", Inpainter)
OUTPAINT = Capability("outpaint", Inpainter)


def check_fill_request(srgb: Float32Array, hole: Mask) -> None:
    """Refuses an invalid request.

    Raises:
        ValueError: wrong shapes or dtypes, values not finite or outside [0, 1], or no known pixel.
    """
    if srgb.ndim != 3 or srgb.shape[2] != 3 or srgb.dtype != np.float32:
        raise ValueError(f"srgb must be float32 (H, W, 3), not {srgb.dtype} {srgb.shape}")
    if hole.shape != srgb.shape[:2] or hole.dtype != np.bool_:
        raise ValueError(f"hole must be bool {srgb.shape[:2]}, not {hole.dtype} {hole.shape}")
    if hole.all():
        raise ValueError("every pixel is a hole: nothing is known to continue from")
    # Check the whole image first: a GPU may be waiting, and selecting the known pixels is sixty times slower.
    if not _in_range(srgb) and not _in_range(srgb[~hole]):
        raise ValueError("known pixels must be finite and inside [0, 1]")


def _in_range(values: Float32Array) -> bool:
    """Whether no value is NaN, below 0 or above 1."""
    return bool(values.min() >= 0 and values.max() <= 1)


def paste_known(filled: Float32Array, srgb: Float32Array, hole: Mask) -> Float32Array:
    """The fill inside the hole, and the input's exact values outside.

    Args:
        filled: (H, W, 3) a backend's result; clipped to [0, 1] inside the hole.
        srgb: (H, W, 3) float32 the input.
        hole: (H, W) bool.

    Raises:
        BackendContractError: the result has the wrong shape, or is not finite somewhere in the hole.
    """
    if filled.shape != srgb.shape:
        raise BackendContractError(f"the backend answered {filled.shape} to an image of {srgb.shape}")
    inside = np.flatnonzero(hole)
    values = filled.reshape(-1, filled.shape[2])[inside]
    if not np.isfinite(values).all():
        raise BackendContractError("the backend left values in the hole that are not finite")
    pasted = srgb.copy()
    pasted.reshape(-1, filled.shape[2])[inside] = np.clip(values, 0.0, 1.0)
    return pasted


class ClassicInpainter(WeightlessBackend):
    """Fills holes with texture from the same image (PatchMatch); ignores prompts."""

    def fill(
        self, srgb: Float32Array, hole: Mask, prompt: str = "", seed: int = 0, guide: FillGuide | None = None
    ) -> Float32Array:
        """See ``Inpainter.fill``; a guide restricts what may be copied.

        Raises:
            BackendContractError: the allowed source is not sufficient to fill the hole.
        """
        check_fill_request(srgb, hole)
        guide = guide or FillGuide()
        try:
            filled = inpainting.complete(
                srgb, hole, seed=seed, allowed_source=guide.allowed_source, depth_guide=guide.depth
            )
        except inpainting.FillError as error:
            raise BackendContractError(f"the hole could not be filled: {error}") from error
        return paste_known(filled, srgb, hole)
