"""Overlaps GPU and host work: asynchronous copies, and waiting for a good moment for host work."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

_POLL_SECONDS = 0.005


def wait_until_busy(device: torch.device, seconds: float = 0.15, timeout: float = 0.6) -> None:
    """Returns once the device has had queued work for `seconds` without a break, or after `timeout` seconds.

    Host work delays the thread that feeds the GPU least while the queue is long. Returns at once without a GPU.
    """
    if device.type != "cuda":
        return
    stream = torch.cuda.default_stream(device)
    started = idle_at = time.monotonic()
    while (now := time.monotonic()) < min(started + timeout, idle_at + seconds):
        time.sleep(_POLL_SECONDS)
        if stream.query():
            idle_at = now


@dataclass(frozen=True, eq=False)
class HostCopy:
    """An asynchronous copy of tensors to the host, and the CUDA event of its completion (None without a GPU)."""

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
        """Waits for the copy and returns the arrays."""
        if self.copied is not None:
            self.copied.synchronize()
        return tuple(tensor.numpy() for tensor in self.tensors)


def arrived(copies: Iterable[HostCopy]) -> Iterator[tuple[NDArray[Any], ...]]:
    """Yields each copy's arrays after starting the next copy, so that the GPU works while the host uses the arrays."""
    waiting: HostCopy | None = None
    for copy in copies:
        if waiting is not None:
            yield waiting.arrays()
        waiting = copy
    if waiting is not None:
        yield waiting.arrays()
