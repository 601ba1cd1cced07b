"""Interface of caption backends, and the classic backend.

Images are float32 sRGB in [0, 1], shape (H, W, 3). Calls may come from several threads at once.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from scenewright_stages.backends.runtime.capability import Backend, Capability
from scenewright_stages.backends.runtime.errors import BackendContractError
from scenewright_stages.backends.runtime.loading import WeightlessBackend
from scenewright_stages.vision.types import Float32Array


@runtime_checkable
class Captioner(Backend, Protocol):
    """Describes an image in words."""

    def caption(self, srgb: Float32Array, instruction: str) -> str:
        """The answer to the instruction, in one paragraph.

        Raises:
            BackendContractError: the answer is empty.
        """


CAPTION = Capability("caption", Captioner)


class KnownLightCaption(WeightlessBackend):
    """The caption from the known light; the stage writes it itself, because only it knows the light."""

    def caption(self, srgb: Float32Array, instruction: str) -> str:
        """Raises BackendContractError, because this backend does not look at the image."""
        raise BackendContractError("the classic caption is made from the light's parameters, not from the picture")
