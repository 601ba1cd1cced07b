"""Tensor helpers of model backends: precision, asynchronous copies to and from the device, and freeing memory.

Copies in both directions overlap with the device's work. A caller stages its image on its own thread (:func:`staged`),
the model's thread stacks a batch (:func:`device_batch`) and starts the copies back (:func:`returning`), and the caller
waits only for its own result (:meth:`Returning.array`).
"""

from __future__ import annotations

import gc
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from scenewright_stages.vision.types import Float32Array

_DTYPES = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    # Only the large matrices are float8; everything around them is bf16.
    "fp8": torch.bfloat16,
}


def torch_dtype(precision: str) -> torch.dtype:
    """The torch dtype for a precision named in a spec. KeyError for an unknown name."""
    return _DTYPES[precision]


def staged(array: NDArray[np.generic], device: str) -> Tensor:
    """The array as a tensor for asynchronous copies to the device (pinned for CUDA)."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory() if device.startswith("cuda") else tensor


def device_batch(images: list[Tensor], device: str) -> Tensor:
    """(N, 3, H, W) float32 on the device from staged (H, W, 3) images of one size."""
    return torch.stack([image.to(device, non_blocking=True) for image in images]).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Returning:
    """A result whose copy from the device may still be in progress."""

    tensor: Tensor
    arrived: torch.cuda.Event | None

    def array(self) -> Float32Array:
        """Waits for the copy and returns the values."""
        if self.arrived is not None:
            self.arrived.synchronize()
        values: Float32Array = self.tensor.numpy()
        return values


def returning(values: Tensor) -> list[Returning]:
    """Starts asynchronous copies of a batch's rows to the host."""
    if values.device.type != "cuda":
        return [Returning(row, None) for row in values.float()]
    host = torch.empty(values.shape, dtype=torch.float32, pin_memory=True)
    host.copy_(values.float(), non_blocking=True)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record()
    return [Returning(row, arrived) for row in host]


def normalised(images: Tensor, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Tensor:
    """(N, 3, H, W) images normalised by a model's mean and standard deviation."""
    # Create constants on the device, because copying them from pageable memory would synchronise.
    channels = [(images[:, k] - mean[k]) / deviation[k] for k in range(3)]
    return torch.stack(channels, dim=1)


def resized(images: Tensor, height: int, width: int, mode: str = "bilinear") -> Tensor:
    """(N, C, height, width), antialiased when shrinking, like Pillow and torchvision."""
    if tuple(images.shape[-2:]) == (height, width):
        return images
    return functional.interpolate(images, (height, width), mode=mode, align_corners=False, antialias=True)


def free_memory() -> None:
    """Runs the garbage collector and releases the GPU's cached blocks.

    Pipelines and compiled modules have reference cycles, so 20 GB may stay allocated until the next collection.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
