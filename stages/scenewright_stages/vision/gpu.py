"""Taking turns with a GPU."""

from __future__ import annotations

import time

import torch

_POLL_SECONDS = 0.005


def wait_until_busy(device: torch.device, seconds: float = 0.15, patience: float = 0.6) -> None:
    """Return once the device has had work queued without a break for some seconds, or when patience is at an end.

    A thread that computes beside the one that feeds a GPU delays it least while the queue is long. Returns at once
    for a device that is no GPU.
    """
    if device.type != "cuda":
        return
    stream = torch.cuda.default_stream(device)
    started = idle_at = time.monotonic()
    while (now := time.monotonic()) < min(started + patience, idle_at + seconds):
        time.sleep(_POLL_SECONDS)
        if stream.query():
            idle_at = now
