"""What a stage may ask of a perception network: distances between pictures that gradients can follow.

Pictures are float32 tensors (B, 3, H, W), sRGB, in [0, 1] or slightly outside, on the backend's device. Sides are 16
pixels at least.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch

from scenewright_stages.backends.capability import Backend, Capability

LEAST_SIDE = 16


@runtime_checkable
class Perception(Backend, Protocol):
    """Compares pictures as a person might."""

    @property
    def device(self) -> torch.device:
        """Where pictures have to be."""

    def distance(self, pictures: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """(B,) perceptual distances, 0 for equal pictures. Gradients follow `pictures` alone.

        Raises:
            BackendContractError: the shapes differ, or a side is below 16 pixels.
        """

    def texture_distance(self, pictures: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """(B,) distances of the features' Gram matrices: textures, wherever they are. Otherwise as `distance`."""


PERCEPTION = Capability("perception", Perception)
