"""VGG-16 with random weights, saved as the published repository is; of its classifier only a stub."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from scenewright_stages.backends.perception.lpips import VggFeatures, published_names

REPOSITORY = "timm/vgg16.tv_in1k"


def random_vgg(seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict under torchvision's names; activations neither vanish nor grow."""
    random, found = torch.Generator().manual_seed(seed), {"head.fc.weight": torch.zeros(2, 2)}
    for name, value in zip(published_names(), VggFeatures().parameters(), strict=True):
        drawn = torch.rand(value.shape, generator=random) - 0.5
        found[name] = drawn * (24 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.1 * drawn
    return found


def save_vgg(cache: Path, seed: int = 0) -> Path:
    """Writes the repository below a model cache."""
    folder = cache / REPOSITORY
    folder.mkdir(parents=True)
    save_file(random_vgg(seed), folder / "model.safetensors")
    return folder
