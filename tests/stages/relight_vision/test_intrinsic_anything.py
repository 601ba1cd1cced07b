"""IntrinsicAnything's checkpoint: plain tensors, its running mean, its picture encoder as OpenAI runs it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_intrinsic import save_tiny_checkpoint
from torch import Tensor
from torch.nn import functional

from scenewright_stages.backends.albedo.facts import INTRINSIC_ANYTHING
from scenewright_stages.backends.albedo.interface import ALBEDO, AlbedoEstimator
from scenewright_stages.backends.albedo.intrinsic_anything.checkpoint import CHECKPOINT, networks_of, read_checkpoint
from scenewright_stages.backends.albedo.intrinsic_anything.estimator import SIDE, at_full_size, on_white, subject_window
from scenewright_stages.backends.runtime.cache.weights import weights_status
from scenewright_stages.backends.runtime.errors import BrokenWeights, LicenceNotAccepted, UnsupportedOption
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool

Floats = NDArray[np.float32]
ACCEPTED = frozenset({"intrinsic-anything-unstated"})
IMAGE = np.random.default_rng(0).random((90, 120, 3), dtype=np.float32)
ALPHA = np.zeros((90, 120), np.float32)
ALPHA[10:80, 20:100] = 1


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("intrinsic")
    save_tiny_checkpoint(root / INTRINSIC_ANYTHING.id / CHECKPOINT)
    return root


@pytest.fixture(scope="module")
def estimator(cache: Path) -> AlbedoEstimator:
    context = ModelContext(cache, "cpu", ACCEPTED, options={"steps": 3})
    return ModelPool().load(ALBEDO, "intrinsic-anything", context)


@pytest.mark.slow
def test_the_answer_fills_the_subjects_box_and_depends_on_the_seed_alone(estimator: AlbedoEstimator) -> None:
    first, shading = estimator.estimate(IMAGE, ALPHA, 1)
    assert (first.shape, first.dtype, shading) == (IMAGE.shape, np.float32, None)
    np.testing.assert_array_equal(first[ALPHA == 0], IMAGE[ALPHA == 0])
    assert np.abs(first - IMAGE)[ALPHA > 0].mean() > 0.05
    np.testing.assert_array_equal(first, estimator.estimate(IMAGE, ALPHA, 1)[0])
    assert np.abs(first - estimator.estimate(IMAGE, ALPHA, 2)[0]).mean() > 1e-3


def test_nobody_in_the_picture_changes_nothing(estimator: AlbedoEstimator) -> None:
    np.testing.assert_array_equal(estimator.estimate(IMAGE, np.zeros_like(ALPHA), 0)[0], IMAGE)


def test_the_running_mean_is_what_runs(tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT
    state = save_tiny_checkpoint(path)
    unet = networks_of(read_checkpoint(path), path).unet
    name = "model.diffusion_model.input_blocks.0.0.weight"
    mean = state["model_ema.diffusion_modelinput_blocks00weight"]
    torch.testing.assert_close(unet.conv_in.weight, mean)
    assert not torch.allclose(unet.conv_in.weight, state[name])
    shared = "output_blocks.11.1.transformer_blocks.0.attn2.to_v.weight"
    mean = state[f"model_ema.diffusion_model{shared.replace('.', '')}"]
    torch.testing.assert_close(unet.up_blocks[3].attentions[2].transformer_blocks[0].attn2.to_v.weight, mean)


def test_the_picture_encoder_answers_as_openais_does(tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT
    state = save_tiny_checkpoint(path)
    encoder = networks_of(read_checkpoint(path), path).picture_encoder
    pixels = torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(1))
    prefix = "cond_stage_model.model.visual."
    visual = {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
    with torch.inference_mode():
        theirs, mine = _openai_clip(visual, pixels), encoder(pixel_values=pixels).image_embeds
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def _openai_clip(visual: dict[str, Tensor], pixels: Tensor, heads: int = 1) -> Tensor:
    """CLIP's picture encoder (Radford et al. 2021) written out."""
    seen = functional.conv2d(pixels, visual["conv1.weight"], stride=8).flatten(2).transpose(1, 2)
    middle = visual["class_embedding"].expand(len(seen), 1, -1)
    tokens = torch.cat([middle, seen], 1) + visual["positional_embedding"]
    tokens = _normed(visual, "ln_pre", tokens)
    for block in range(2):
        name = f"transformer.resblocks.{block}"
        hidden = _normed(visual, f"{name}.ln_1", tokens)
        joined = functional.linear(hidden, visual[f"{name}.attn.in_proj_weight"], visual[f"{name}.attn.in_proj_bias"])
        query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in joined.chunk(3, -1))
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + _linear(visual, f"{name}.attn.out_proj", mixed)
        hidden = _linear(visual, f"{name}.mlp.c_fc", _normed(visual, f"{name}.ln_2", tokens))
        tokens = tokens + _linear(visual, f"{name}.mlp.c_proj", hidden * torch.sigmoid(1.702 * hidden))
    return _normed(visual, "ln_post", tokens[:, 0]) @ visual["proj"]


def _linear(visual: dict[str, Tensor], name: str, values: Tensor) -> Tensor:
    return functional.linear(values, visual[f"{name}.weight"], visual[f"{name}.bias"])


def _normed(visual: dict[str, Tensor], name: str, values: Tensor) -> Tensor:
    return functional.layer_norm(values, values.shape[-1:], visual[f"{name}.weight"], visual[f"{name}.bias"])


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / CHECKPOINT
    state = save_tiny_checkpoint(path)
    torch.save({"state_dict": state, "hyper_parameters": argparse.Namespace(lr=1e-4)}, path)
    with pytest.raises(BrokenWeights, match="keep only its state_dict"):
        read_checkpoint(path)


def _without_a_tensor(state: dict[str, Tensor]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if not name.endswith("out_proj.weight")}


def _of_another_shape(state: dict[str, Tensor]) -> dict[str, Any]:
    name = "first_stage_model.decoder.conv_out.weight"
    return {**state, name: state[name][:2]}


@pytest.mark.parametrize("spoil", [_without_a_tensor, _of_another_shape, lambda state: {"weights": torch.ones(3)}])
def test_another_model_is_refused(tmp_path: Path, spoil: Any) -> None:
    path = tmp_path / CHECKPOINT
    torch.save({"state_dict": spoil(save_tiny_checkpoint(path))}, path)
    with pytest.raises(BrokenWeights):
        networks_of(read_checkpoint(path), path)


def test_it_needs_its_unstated_licence_by_name_and_sensible_options(cache: Path) -> None:
    with pytest.raises(LicenceNotAccepted, match="unstated"):
        ModelPool().load(ALBEDO, "intrinsic-anything", ModelContext(cache, "cpu"))
    with pytest.raises(UnsupportedOption):
        context = ModelContext(cache, "cpu", ACCEPTED, options={"guidance": 0.5})
        ModelPool().load(ALBEDO, "intrinsic-anything", context)


def test_weights_of_a_space_are_found_in_the_hubs_cache(tmp_path: Path) -> None:
    folder = tmp_path / "spaces--LittleFrog--IntrinsicAnything"
    commit = "0" * 40
    save_tiny_checkpoint(folder / "snapshots" / commit / CHECKPOINT)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(commit)
    status = weights_status(INTRINSIC_ANYTHING, tmp_path)
    assert (status.state, status.revision) == ("present", commit)


def test_the_subject_lies_in_the_middle_of_a_white_square() -> None:
    place = subject_window(ALPHA)
    assert place == (slice(10, 80), slice(20, 100))
    square, inner = on_white(IMAGE[place], ALPHA[place])
    assert square.shape == (SIDE, SIDE, 3)
    assert inner == (slice(16, 240), slice(0, 256))
    assert (square[:16] == 1).all()
    assert (square[240:] == 1).all()
    holed = ALPHA[place].copy()
    holed[:20] = 0
    assert (on_white(IMAGE[place], holed)[0][16:70] == 1).all()


def test_the_answer_is_enlarged_along_edges() -> None:
    rows, columns = np.mgrid[:256, :256].astype(np.float32)
    edge = (columns + 0.4 * rows > 170).astype(np.float32)
    image = np.dstack([0.2 + 0.6 * edge, 0.3 + 0.4 * edge, 0.1 + 0.1 * edge]).astype(np.float32)
    truth = np.dstack([0.9 - 0.5 * edge, 0.2 + 0.7 * edge, 0.5 * np.ones_like(edge)]).astype(np.float32)
    seen, answer = image[2::8, 2::8], truth[2::8, 2::8]
    mine = np.abs(at_full_size(image, seen, answer) - truth).mean()
    blocks = np.abs(answer.repeat(8, 0).repeat(8, 1) - truth).mean()
    assert mine < 0.5 * blocks
