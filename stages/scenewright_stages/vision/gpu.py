"""Keeping a GPU and its host busy at the same time: copies in the background, and the right moment for host work."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

_POLL_SECONDS = 0.005


def wait_until_busy(device: torch.device, seconds: float = 0.15, patience: float = 0.6) -> None:
    """Return once the device has had work queued without a break for some seconds, or when `patience` has passed.

    A thread that computes beside the one that feeds a GPU delays it least while the queue is long. Returns at once
    for a device that is not a GPU.
    """
    if device.type != "cuda":
        return
    stream = torch.cuda.default_stream(device)
    started = idle_at = time.monotonic()
    while (now := time.monotonic()) < min(started + patience, idle_at + seconds):
        time.sleep(_POLL_SECONDS)
        if stream.query():
            idle_at = now


@dataclass(frozen=True, eq=False)
class HostCopy:
    """Tensors on their way to the host, and the CUDA event of their arrival; None without a GPU."""

    tensors: tuple[torch.Tensor, ...]
    copied: Any

    @classmethod
    def of(cls, *tensors: torch.Tensor) -> HostCopy:
        """Starts the copies without waiting for them."""
        copies = tuple(tensor.to("cpu", non_blocking=True) for tensor in tensors)
        if not any(tensor.is_cuda for tensor in tensors):
            return cls(copies, None)
        copied: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
        copied.record()
        return cls(copies, copied)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Waits until all have arrived."""
        if self.copied is not None:
            self.copied.synchronize()
        return tuple(tensor.numpy() for tensor in self.tensors)


def arrived(copies: Iterable[HostCopy]) -> Iterator[tuple[NDArray[Any], ...]]:
    """The arrays of each copy once the next one has started: the GPU draws a batch while the host uses the last."""
    waiting: HostCopy | None = None
    for copy in copies:
        if waiting is not None:
            yield waiting.arrays()
        waiting = copy
    if waiting is not None:
        yield waiting.arrays()
