"""The backends without weights, as the same interfaces: texture completion, the depth prior, provided depth.

The algorithms live in :mod:`scenewright_stages.vision`; they are imported when a backend is made, so that the
registry stays light.
"""

from __future__ import annotations

from scenewright_stages.models.errors import BackendContractError
from scenewright_stages.models.interfaces import (
    BackendRecord,
    FillGuide,
    FloatImage,
    Mask,
    check_fill_request,
    paste_known,
)
from scenewright_stages.models.loading import LoadRequest


class ClassicInpainter:
    """Fills holes with texture from the same image (PatchMatch); prompts are not understood."""

    def __init__(self, request: LoadRequest) -> None:
        from scenewright_stages.vision import inpainting

        self.record: BackendRecord = request.record
        self._inpainting = inpainting

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
            filled = self._inpainting.complete(
                srgb, hole, seed=seed, allowed_source=guide.allowed_source, depth_guide=guide.depth
            )
        except self._inpainting.FillError as error:
            raise BackendContractError(f"the hole could not be filled: {error}") from error
        return paste_known(filled, srgb, hole)

    def release(self) -> None:
        """Nothing is held."""
