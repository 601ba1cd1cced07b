"""The full-size benchmark's network is the published one, and its random pipeline fills (at a tiny size)."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from benchmarks import load_benchmark
from diffusers import AutoencoderKL, FluxTransformer2DModel
from tiny_flux import zero_embeddings

from scenewright_stages.backends.inpaint.flux_fill import FluxFillInpainter, FluxFillSettings
from scenewright_stages.backends.inpaint.flux_prompts import FluxPrompts
from scenewright_stages.backends.runtime.capability import BackendRecord


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return load_benchmark("flux_fill")


def _parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_benchmark_runs_the_published_sizes(benchmark: ModuleType) -> None:
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(**benchmark.TRANSFORMER)
        autoencoder = AutoencoderKL(**benchmark.AUTOENCODER)
    # The published transformer holds 23.80 GB of bf16 and the autoencoder 168 MB.
    assert _parameters(transformer) == 11_902_391_360
    assert _parameters(autoencoder) == pytest.approx(83.8e6, rel=1e-3)


def test_random_weights_fill_finitely_and_by_their_seed(benchmark: ModuleType) -> None:
    transformer = benchmark.TRANSFORMER | {
        "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2,
        "joint_attention_dim": 32, "pooled_projection_dim": 32, "axes_dims_rope": (4, 4, 8),
    }  # fmt: skip
    autoencoder = benchmark.AUTOENCODER | {"block_out_channels": (32, 32, 32, 32), "layers_per_block": 1}
    settings = FluxFillSettings(precision="bf16", compile="none", steps=2)
    image = np.random.default_rng(0).random((48, 48, 3), dtype=np.float32)
    hole = np.zeros((48, 48), np.bool_)
    hole[:, 32:] = True
    fills = []
    for seed in (0, 0, 1):
        pipeline = benchmark.random_pipeline(transformer, autoencoder, "cpu", seed)
        record = BackendRecord("inpaint", "flux-fill", "model")
        fills.append(
            FluxFillInpainter(
                pipeline, FluxPrompts("zeros", None, {"": zero_embeddings(32, 32)}), settings, record
            ).fill(image, hole, seed=1)
        )
    np.testing.assert_array_equal(fills[0], fills[1])
    assert not np.array_equal(fills[0], fills[2])
    np.testing.assert_array_equal(fills[0][~hole], image[~hole])
