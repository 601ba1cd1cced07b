"""LPIPS (Zhang et al. 2018) and Gram matrices on VGG-16, from the published weights.

VGG comes from the model cache as torchvision's state dict (``features.<number>.weight``). LPIPS's own five layers
(1,472 numbers) lie beside this module. The package ``lpips`` is not used: it needs torchvision, downloads VGG in its
constructor, and its gradient is NaN where all features of a pixel are 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import safetensors
import torch
from torch import nn
from torch.nn import functional

from scenewright_stages.backends.perception.interface import LEAST_SIDE
from scenewright_stages.backends.runtime.acceleration import COMPILE, NETWORK, NONE, compile_network
from scenewright_stages.backends.runtime.capability import BackendRecord
from scenewright_stages.backends.runtime.errors import BackendContractError, BrokenWeights
from scenewright_stages.backends.runtime.loading import LoadRequest
from scenewright_stages.backends.runtime.tensors import free_memory

LAYERS = Path(__file__).with_name("lpips_vgg16.npz")
"""Weights of the channels in version 0.1: ``lin<number>.model.1.weight`` (1, C, 1, 1), as published."""
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions between two poolings; features are taken after the last activation of each."""
TEXTURE_WEIGHTS = (1 / 2.6, 1 / 4.8, 1 / 3.7, 1 / 5.6, 10 / 1.5)
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_TINY = 1e-10


class VggFeatures(nn.Module):
    """The VGG-16 features for LPIPS, from sRGB in [0, 1]; weights must be loaded separately."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList(_stages())
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(_DEVIATION).view(1, 3, 1, 1), persistent=False)

    def forward(self, pictures: torch.Tensor) -> list[torch.Tensor]:
        """Five tensors (B, C, h, w), each half the size of the previous one."""
        values, found = (pictures - self.mean) / self.deviation, []
        for number, stage in enumerate(self.stages):
            values = stage(functional.max_pool2d(values, 2) if number else values)
            found.append(values)
        return found

    def load_published(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Loads the convolutions of torchvision's state dict. Raises ValueError unless it has exactly those."""
        own = dict(zip(published_names(), self.parameters(), strict=True))
        shapes = {name: value.shape for name, value in weights.items() if name.startswith("features.")}
        if shapes != {name: value.shape for name, value in own.items()}:
            raise ValueError("these are not the layers of VGG-16 without normalisation")
        with torch.no_grad():
            for name, value in own.items():
                value.copy_(weights[name])


class Lpips:
    """LPIPS and Gram distances on a device."""

    def __init__(self, features: VggFeatures, layers: Sequence[torch.Tensor], record: BackendRecord) -> None:
        self.record, self.device = record, torch.device(record.device)
        self._features: VggFeatures | None = features.requires_grad_(False).eval().to(self.device)
        self._layers = [layer.to(self.device) for layer in layers]

    def distance(self, pictures: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """See ``Perception.distance``."""
        found = [
            (layer * (_directions(own) - _directions(other)).square()).sum(dim=1).mean(dim=(1, 2))
            for layer, own, other in zip(self._layers, *self._both(pictures, truth), strict=True)
        ]
        return torch.stack(found).sum(dim=0)

    def texture_distance(self, pictures: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """See ``Perception.texture_distance``; with one Gram matrix per image."""
        found = [
            weight * (_gram(own) - _gram(other)).square().mean(dim=(1, 2)) / own[0].numel()
            for weight, own, other in zip(TEXTURE_WEIGHTS, *self._both(pictures, truth), strict=True)
        ]
        return torch.stack(found).sum(dim=0)

    def release(self) -> None:
        """Free the network's memory."""
        self._features = None
        free_memory()

    def _both(self, pictures: torch.Tensor, truth: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        if self._features is None:
            raise RuntimeError(f"{self.record.backend} was released")
        if pictures.shape != truth.shape or min(pictures.shape[-2:]) < LEAST_SIDE:
            shapes = f"{tuple(pictures.shape)} and {tuple(truth.shape)}"
            raise BackendContractError(f"pictures of {shapes} cannot be compared; sides are {LEAST_SIDE} at least")
        # Sums of squares over hundreds of channels need float32, regardless of the caller's autocast.
        with torch.autocast(self.device.type, enabled=False):
            with torch.no_grad():
                other = self._features(truth.float())
            return self._features(pictures.float()), other


def load_lpips(request: LoadRequest) -> Lpips:
    """Loads the backend from VGG's folder. Raises BrokenWeights if it contains another network."""
    path = request.folder / "model.safetensors"
    features = VggFeatures()
    try:
        with safetensors.safe_open(path, "pt") as file:
            # Skip the classifier, which is nine tenths of the file.
            features.load_published({name: file.get_tensor(name) for name in file.keys() if "features." in name})  # noqa: SIM118
    except (ValueError, safetensors.SafetensorError) as problem:
        raise BrokenWeights(request.record.weights_id, path, str(problem)) from problem
    if request.context.option(COMPILE, NONE) == NETWORK:
        compile_network(features, request.context.cache_dir)
    return Lpips(features, read_layers(LAYERS), request.record)


def read_layers(path: Path) -> list[torch.Tensor]:
    """LPIPS's layers, (1, C, 1, 1) each."""
    with np.load(path, allow_pickle=False) as found:
        return [torch.from_numpy(found[f"lin{number}.model.1.weight"]) for number in range(len(STAGES))]


def published_names() -> Iterator[str]:
    """Names of the convolutions' weights and biases in torchvision's state dict, in order."""
    place = 0
    for _, count in STAGES:
        for _ in range(count):
            yield from (f"features.{place}.weight", f"features.{place}.bias")
            # Each convolution is followed by an activation, and each stage by a pooling.
            place += 2
        place += 1


def _stages() -> Iterator[nn.Sequential]:
    given = 3
    for channels, count in STAGES:
        layers: list[nn.Module] = []
        for _ in range(count):
            # Skip the random initialisation, which loading overwrites.
            convolution = nn.utils.skip_init(nn.Conv2d, given, channels, 3, padding=1)  # type: ignore[no-untyped-call]
            layers += (convolution, nn.ReLU())
            given = channels
        yield nn.Sequential(*layers)


def _directions(features: torch.Tensor) -> torch.Tensor:
    """Features normalised to length 1 at every position; epsilon keeps the gradient finite where all are 0."""
    length = (features.square().sum(dim=1, keepdim=True) + _TINY**2).sqrt()
    return features / (length + _TINY)


def _gram(features: torch.Tensor) -> torch.Tensor:
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2)
