"""The caption without weights, which says what is known of the light."""

from __future__ import annotations

from scenewright_stages.backends.capability import FloatImage
from scenewright_stages.backends.errors import BackendContractError
from scenewright_stages.backends.loading import WeightlessBackend


class KnownLightCaption(WeightlessBackend):
    """The caption from the light that is known; the stage writes it, as only it knows the light."""

    def caption(self, srgb: FloatImage, instruction: str) -> str:
        """Raises BackendContractError: nothing is seen in the picture itself."""
        raise BackendContractError("the classic caption is made from the light's parameters, not from the picture")
