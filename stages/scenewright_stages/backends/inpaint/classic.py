"""Filling holes without weights: texture of the same image, copied by PatchMatch and blended."""

from __future__ import annotations

from scenewright_stages.backends.capability import FloatImage, Mask
from scenewright_stages.backends.errors import BackendContractError
from scenewright_stages.backends.inpaint.interface import FillGuide, check_fill_request, paste_known
from scenewright_stages.backends.loading import WeightlessBackend
from scenewright_stages.vision import inpainting


class ClassicInpainter(WeightlessBackend):
    """Fills holes with texture from the same image (PatchMatch); prompts are not understood."""

    def fill(
        self, srgb: FloatImage, hole: Mask, prompt: str = "", seed: int = 0, guide: FillGuide | None = None
    ) -> FloatImage:
        """See ``Inpainter.fill``; a guide restricts what may be copied.

        Raises:
            BackendContractError: the hole cannot be filled from what may be copied.
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
