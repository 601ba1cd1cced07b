"""A small fixed network that learns to segment one object from a data set, and two rivals without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

SIDE = 96
STEPS, BATCH, RATE = 500, 16, 5e-3
LEAST = 0.004
"""Of the image: a smaller answer says that the object is absent."""


class SmallUnet(nn.Module):
    """Four levels with skips, below 60,000 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([_step(3, 16), _step(16, 24), _step(24, 32), _step(32, 32, 2)])
        self.up = nn.ModuleList([_step(32 + 32, 24), _step(24 + 24, 16), _step(16 + 16, 16)])
        self.last = nn.Conv2d(16, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, H, W) logits of (N, 3, H, W) images."""
        kept: list[Tensor] = []
        values = images
        for number, step in enumerate(self.down):
            values = step(values if number == 0 else functional.max_pool2d(values, 2))
            kept.append(values)
        for step, skip in zip(self.up, reversed(kept[:-1]), strict=True):
            values = step(torch.cat([functional.interpolate(values, scale_factor=2.0), skip], dim=1))
        return self.last(values)


def _step(channels: int, after: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, after, 3, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=dilation, dilation=dilation, groups=4, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


def trained(images: Bytes, masks: Mask, seed: int, steps: int = STEPS) -> SmallUnet:
    """The network after a fixed number of steps on (N, H, W, 3) images."""
    torch.manual_seed(seed)
    network = SmallUnet()
    assert sum(each.numel() for each in network.parameters()) <= 60_000
    inputs, targets = _inputs(images), torch.from_numpy(masks.astype(np.float32))[:, None]
    optimiser = torch.optim.AdamW(network.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    for _ in range(steps):
        chosen = torch.randint(len(inputs), (BATCH,))
        flipped = torch.rand(BATCH) < 0.5
        batch = torch.where(flipped[:, None, None, None], inputs[chosen].flip(3), inputs[chosen])
        wanted = torch.where(flipped[:, None, None, None], targets[chosen].flip(3), targets[chosen])
        logits = network(batch)
        likely = logits.sigmoid()
        dice = 1 - (2 * (likely * wanted).sum() + 1) / (likely.sum() + wanted.sum() + 1)
        loss = functional.binary_cross_entropy_with_logits(logits, wanted) + dice
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network.eval()


@torch.inference_mode()
def predicted(network: SmallUnet, images: Bytes) -> Mask:
    """(N, H, W) bool."""
    parts = [network(_inputs(images[start : start + 32]))[:, 0] > 0 for start in range(0, len(images), 32)]
    return torch.cat(parts).numpy()


class ColourTable:
    """How likely each of 16 x 16 x 16 colours is the object's, counted on a data set."""

    def __init__(self, images: Bytes, masks: Mask) -> None:
        places = _places(images)
        inside = np.bincount(places[masks], minlength=4096) + 0.5
        beside = np.bincount(places[~masks], minlength=4096) + 4.0
        self.likely = inside / (inside + beside)

    def predicted(self, images: Bytes, least: float) -> Mask:
        """(N, H, W) bool of colours that are likely enough."""
        return self.likely[_places(images)] > least


def _places(images: Bytes) -> NDArray[np.intp]:
    coarse = images.astype(np.intp) >> 4
    return (coarse[..., 0] * 16 + coarse[..., 1]) * 16 + coarse[..., 2]


@dataclass(frozen=True)
class Score:
    """How well masks are answered.

    Attributes:
        overlap: mean over the images with the object.
        alarms: share of the images without it in which something was found.
        over_all: mean over all images; one without the object counts 1 when nothing was found and 0 otherwise.
    """

    overlap: float
    alarms: float
    over_all: float

    def __str__(self) -> str:
        return f"{self.overlap:.3f} ({self.alarms:.1%} false alarms, over all {self.over_all:.3f})"


def score(answers: Mask, truths: Mask) -> Score:
    """The score of (N, H, W) answers; not all images hold the object."""
    found, alarms = [], []
    for answer, truth in zip(answers, truths, strict=True):
        if truth.any():
            found.append(float((answer & truth).sum() / (answer | truth).sum()))
        else:
            alarms.append(float(answer.mean() > LEAST))
    over_all = np.mean([*found, *(1 - each for each in alarms)])
    return Score(float(np.mean(found)), float(np.mean(alarms)), float(over_all))


def stacked(pairs: Sequence[tuple[Bytes, Mask]]) -> tuple[Bytes, Mask]:
    """(N, H, W, 3) images and (N, H, W) masks."""
    return np.stack([each[0] for each in pairs]), np.stack([each[1] for each in pairs])


def _inputs(images: Bytes) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5
