"""Interface of perception networks: differentiable perceptual distances.

Images are float32 tensors (B, 3, H, W), sRGB, in [0, 1] or slightly outside, on the backend's device. Sides are at
least 16 pixels.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch

from scenewright_stages.backends.runtime.capability import Backend, Capability

LEAST_SIDE = 16


@runtime_checkable
class Perception(Backend, Protocol):
    """Measures perceptual distances."""

    @property
    def device(self) -> torch.device:
        """The device for input tensors."""

    def distance(self, pictures: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """(B,) perceptual distances, 0 for equal images. Differentiable only by `pictures`.

        Raises:
            BackendContractError: the shapes differ, or a side is below 16 pixels.
        """

    def texture_distance(self, pictures: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """(B,) Gram matrix distances, which compare textures regardless of position. Otherwise like `distance`."""


PERCEPTION = Capability("perception", Perception)
