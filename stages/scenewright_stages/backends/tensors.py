"""Tensors of model backends: precision, images on their way to a device, results on their way back, freed memory.

Copies in both directions run beside the device's work. A caller stages its image on its own thread (:func:`staged`),
the model's thread stacks a batch (:func:`device_batch`) and sends the answers off (:func:`returning`), and the caller
waits for its own answer alone (:meth:`Returning.array`).
"""

from __future__ import annotations

import gc
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from scenewright_stages.backends.capability import FloatImage

_DTYPES = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    # Only the large matrices are float8; everything around them is bf16.
    "fp8": torch.bfloat16,
}


def torch_dtype(precision: str) -> torch.dtype:
    """The type in which tensors are held at a precision as a spec names it. KeyError for an unknown name."""
    return _DTYPES[precision]


def staged(array: NDArray[np.generic], device: str) -> Tensor:
    """The array as a tensor that can be copied to the device in the background (page-locked for CUDA)."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory() if device.startswith("cuda") else tensor


def device_batch(images: list[Tensor], device: str) -> Tensor:
    """(N, 3, H, W) float32 on the device from staged (H, W, 3) images of one size."""
    return torch.stack([image.to(device, non_blocking=True) for image in images]).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Returning:
    """A result that may still be on its way from the device."""

    tensor: Tensor
    arrived: torch.cuda.Event | None

    def array(self) -> FloatImage:
        """The values, as soon as they have arrived."""
        if self.arrived is not None:
            self.arrived.synchronize()
        values: FloatImage = self.tensor.numpy()
        return values


def returning(values: Tensor) -> list[Returning]:
    """The rows of a batch, each on its way to the host while the device does other work."""
    if values.device.type != "cuda":
        return [Returning(row, None) for row in values.float()]
    host = torch.empty(values.shape, dtype=torch.float32, pin_memory=True)
    host.copy_(values.float(), non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()
    return [Returning(row, arrived) for row in host]


def normalised(images: Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Tensor:
    """(N, 3, H, W) images with a model's statistics taken out."""
    # Filled on the device: copying a constant from pageable memory would wait for everything before it.
    channels = [(images[:, k] - mean[k]) / deviation[k] for k in range(3)]
    return torch.stack(channels, dim=1)


def resized(images: Tensor, height: int, width: int, mode: str = "bilinear") -> Tensor:
    """(N, C, height, width), antialiased when made smaller, as Pillow and torchvision resample."""
    if tuple(images.shape[-2:]) == (height, width):
        return images
    return functional.interpolate(images, (height, width), mode=mode, align_corners=False, antialias=True)


def free_memory() -> None:
    """Collect what is no longer referenced and hand the GPU's cached blocks back.

    Pipelines and compiled modules refer to themselves in circles, so that without a collection 20 GB may stay
    until Python happens to run one.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
