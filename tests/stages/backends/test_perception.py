"""LPIPS and Gram matrices from weights in the published format, against the formulas written down once more."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_vgg import REPOSITORY, save_vgg
from torch.nn import functional

from scenewright_stages.backends.perception.interface import PERCEPTION, Perception
from scenewright_stages.backends.perception.lpips import LAYERS, TEXTURE_WEIGHTS, read_layers
from scenewright_stages.backends.runtime.errors import BackendContractError, BrokenWeights, MissingWeights
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool

CONVOLUTIONS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
"""Places of the convolutions in torchvision's VGG-16."""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    save_vgg(folder)
    return folder


@pytest.fixture(scope="module")
def lpips(cache: Path) -> Perception:
    return ModelPool().load(PERCEPTION, "lpips-vgg", ModelContext(cache, "cpu"))


def pictures(seed: int, size: tuple[int, int] = (17, 20)) -> torch.Tensor:
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(seed))


def features(cache: Path, values: torch.Tensor) -> list[torch.Tensor]:
    weights = load_file(cache / REPOSITORY / "model.safetensors")
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    values = (values - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    found = []
    for number, places in enumerate(CONVOLUTIONS):
        values = functional.max_pool2d(values, 2) if number else values
        for place in places:
            weight, bias = (weights[f"features.{place}.{name}"] for name in ("weight", "bias"))
            values = functional.conv2d(values, weight, bias, padding=1).relu()
        found.append(values)
    return found


def test_distances_are_lpips_of_the_published_weights(cache: Path, lpips: Perception) -> None:
    first, second = pictures(0), pictures(1)
    expected = torch.zeros(2)
    for layer, a, b in zip(read_layers(LAYERS), features(cache, first), features(cache, second), strict=True):
        unit_a, unit_b = (each / each.norm(dim=1, keepdim=True) for each in (a, b))
        expected += functional.conv2d((unit_a - unit_b).square(), layer).mean(dim=(1, 2, 3))
    torch.testing.assert_close(lpips.distance(first, second), expected, rtol=1e-5, atol=1e-7)
    assert float(expected.min()) > 0.01


def test_textures_are_gram_matrices_of_each_picture_alone(cache: Path, lpips: Perception) -> None:
    first, second = pictures(0), pictures(1)
    for number in range(2):
        one, other = (features(cache, each[number : number + 1]) for each in (first, second))
        expected = 0.0
        for weight, a, b in zip(TEXTURE_WEIGHTS, one, other, strict=True):
            grams = [each[0].flatten(1) @ each[0].flatten(1).T for each in (a, b)]
            expected += weight * float((grams[0] - grams[1]).square().mean()) / a.numel()
        assert float(lpips.texture_distance(first, second)[number]) == pytest.approx(expected, rel=1e-4)


def test_equal_pictures_are_at_no_distance_and_more_noise_is_farther(lpips: Perception) -> None:
    truth, noise = pictures(0), pictures(1) - 0.5
    found = [float(lpips.distance(truth + strength * noise, truth).mean()) for strength in (0.0, 0.1, 0.4)]
    assert found[0] == 0 < found[1] < found[2]


def test_gradients_are_finite_where_nothing_is_seen(lpips: Perception) -> None:
    black = torch.full((1, 3, 16, 16), 0.0, requires_grad=True)
    truth = pictures(0, (16, 16))[:1]
    (lpips.distance(black, truth) + lpips.texture_distance(black, truth)).sum().backward()
    assert black.grad is not None
    assert bool(black.grad.isfinite().all())
    assert float(black.grad.abs().max()) > 0


def test_the_layers_of_lpips_are_those_that_were_published() -> None:
    layers = read_layers(LAYERS)
    assert [tuple(layer.shape) for layer in layers] == [(1, width, 1, 1) for width in (64, 128, 256, 512, 512)]
    # Sums of version 0.1 for VGG.
    assert [round(float(layer.sum()), 3) for layer in layers] == [6.926, 8.858, 17.515, 51.521, 47.035]
    assert min(float(layer.min()) for layer in layers) > 0


def test_the_record_names_weights_and_licence(lpips: Perception) -> None:
    assert (lpips.record.weights_id, lpips.record.licence) == (REPOSITORY, "bsd-3-clause")
    assert not lpips.record.non_commercial


def test_small_pictures_other_shapes_and_a_released_network_are_refused(cache: Path) -> None:
    lpips = ModelPool().load(PERCEPTION, "lpips-vgg", ModelContext(cache, "cpu"))
    with pytest.raises(BackendContractError, match="sides are 16 at least"):
        lpips.distance(pictures(0, (15, 20)), pictures(1, (15, 20)))
    with pytest.raises(BackendContractError, match="cannot be compared"):
        lpips.distance(pictures(0), pictures(1, (18, 20)))
    lpips.release()
    with pytest.raises(RuntimeError, match="was released"):
        lpips.distance(pictures(0), pictures(1))


def test_missing_and_foreign_weights_are_refused(tmp_path: Path) -> None:
    context = ModelContext(tmp_path, "cpu")
    with pytest.raises(MissingWeights, match=REPOSITORY):
        ModelPool().load(PERCEPTION, "lpips-vgg", context)
    folder = tmp_path / REPOSITORY
    folder.mkdir(parents=True)
    save_file({"features.0.weight": torch.zeros(64, 3, 3, 3)}, folder / "model.safetensors")
    with pytest.raises(BrokenWeights, match="not the layers of VGG-16"):
        ModelPool().load(PERCEPTION, "lpips-vgg", context)
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(BrokenWeights):
        ModelPool().load(PERCEPTION, "lpips-vgg", context)
