"""What a stage may ask of a caption backend: a picture in words.

Images are float32 sRGB in [0, 1], shape (H, W, 3). Calls may come from several threads at once.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from scenewright_stages.backends.capability import Backend, Capability, FloatImage


@runtime_checkable
class Captioner(Backend, Protocol):
    """Describes a picture."""

    def caption(self, srgb: FloatImage, instruction: str) -> str:
        """What the instruction asks for, in one paragraph.

        Raises:
            BackendContractError: the answer is empty.
        """


CAPTION = Capability("caption", Captioner)
