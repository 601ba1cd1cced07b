"""When networks are compiled, and that compiling changes nothing but the pace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import QwenImageTransformer2DModel
from tiny_qwen_image import tiny_transformer
from tiny_seva import LICENCES, save_tiny_seva
from torch._dynamo.utils import counters

from scenewright_stages.backends.edit.qwen_attention import RealRotations, use_real_rotations
from scenewright_stages.backends.edit.qwen_edit import QwenSettings
from scenewright_stages.backends.novel_views.interface import NOVEL_VIEWS
from scenewright_stages.backends.novel_views.seva.engine import SevaViews
from scenewright_stages.backends.runtime.acceleration import (
    BLOCKS,
    NETWORK,
    NONE,
    Float8Linear,
    compile_blocks,
    compile_network,
    compile_option,
    quantise_to_float8,
)
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool


def context(device: str, **options: str) -> ModelContext:
    return ModelContext(Path(), device, options=options)


def test_a_backend_compiles_on_a_gpu_unless_the_options_say_otherwise() -> None:
    assert compile_option(context("cuda"), BLOCKS) == BLOCKS
    assert compile_option(context("cuda:1"), NETWORK) == NETWORK
    assert compile_option(context("cpu"), BLOCKS) == NONE
    assert compile_option(context("cuda"), BLOCKS, offload="model") == NONE
    assert compile_option(context("cuda", compile=NONE), BLOCKS) == NONE
    assert compile_option(context("cpu", compile=NETWORK), NETWORK) == NETWORK


def test_qwen_compiles_by_default_and_never_with_offloading() -> None:
    assert QwenSettings.from_context(context("cuda"), "qwen-edit").compile == BLOCKS
    assert QwenSettings.from_context(context("cuda", offload="model"), "qwen-edit").compile == NONE
    with pytest.raises(UnsupportedOption, match="together with offload"):
        QwenSettings.from_context(context("cuda", offload="model", compile=BLOCKS), "qwen-edit")


def test_a_compiled_network_answers_as_before() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.GroupNorm(2, 4), torch.nn.SiLU()).eval()
    pictures = torch.randn(2, 3, 8, 8)
    plain = network(pictures)
    compile_network(network, None, backend="eager")
    assert network._compiled_call_impl is not None
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(network(pictures), plain, rtol=0, atol=1e-6)


def test_seva_is_compiled_where_it_is_asked_for(tmp_path: Path) -> None:
    cache = save_tiny_seva(tmp_path)
    for options, compiled in (({}, False), ({"compile": NETWORK}, True)):
        views = ModelPool().load(NOVEL_VIEWS, "seva", ModelContext(cache, "cpu", LICENCES, options=options))
        assert isinstance(views, SevaViews)
        assert views._models is not None
        network = views._models[0]._predict
        assert isinstance(network, torch.nn.Module)
        assert (network._compiled_call_impl is not None) == compiled


@torch.no_grad()
def test_rotations_by_real_numbers_are_those_by_complex_ones() -> None:
    """Also with padded words: the mask says which count."""
    torch.manual_seed(3)
    transformer, words = tiny_transformer(), 5
    for value in transformer.parameters():
        value.copy_(torch.randn_like(value) * 0.2)
    mask = torch.ones(1, words, dtype=torch.long)
    for text in (None, mask, mask * (torch.arange(words) < 3)):
        arguments = {
            "hidden_states": torch.randn(1, 2 * 4 * 6, 16),
            "encoder_hidden_states": torch.randn(1, words, 32),
            "encoder_hidden_states_mask": text,
            "timestep": torch.tensor([0.7]),
            "img_shapes": [[(1, 4, 6), (1, 4, 6)]],
            "return_dict": False,
        }
        reference = tiny_transformer()
        reference.load_state_dict(transformer.state_dict())
        use_real_rotations(transformer)
        assert isinstance(transformer.transformer_blocks[1].attn.processor, RealRotations)
        expected, found = reference(**arguments)[0], transformer(**arguments)[0]
        assert float(expected.abs().max()) > 0.01
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    compile_blocks(transformer, None, backend="eager")
    torch.testing.assert_close(transformer(**arguments)[0], expected, rtol=0, atol=1e-5)


def rows_apart(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float(((found.float() - truth).norm(dim=-1) / truth.norm(dim=-1)).max())


@torch.no_grad()
def test_every_row_keeps_its_own_scale_in_float8() -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 96).to(torch.bfloat16)
    values = torch.randn(2, 5, 64) * torch.logspace(-4, 3, 5)[:, None]
    truth = torch.nn.functional.linear(values, linear.weight.float(), linear.bias.float())
    found = Float8Linear(linear, "cpu")(values.to(torch.bfloat16))
    assert found.shape == truth.shape
    assert found.dtype == torch.bfloat16
    assert rows_apart(found, truth) < 0.06
    # One scale for all rows loses the small ones.
    scale = values.abs().max() / 448
    coarse = (values / scale).to(torch.float8_e4m3fn).float() * scale
    without = torch.nn.functional.linear(coarse, linear.weight.float(), linear.bias.float())
    assert rows_apart(without - linear.bias.float(), truth - linear.bias.float()) > 0.3


@torch.no_grad()
def test_all_blocks_of_a_kind_are_compiled_once_also_in_float8() -> None:
    torch._dynamo.reset()
    transformer = QwenImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=3, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, axes_dims_rope=(4, 6, 6),
    ).eval().to(torch.bfloat16)  # fmt: skip
    use_real_rotations(transformer)
    arguments = {
        "hidden_states": torch.randn(1, 48, 16, dtype=torch.bfloat16),
        "encoder_hidden_states": torch.randn(1, 5, 32, dtype=torch.bfloat16),
        "encoder_hidden_states_mask": None,
        "timestep": torch.tensor([0.7]),
        "img_shapes": [[(1, 4, 6), (1, 4, 6)]],
        "return_dict": False,
    }
    plain = transformer(**arguments)[0].float()
    quantise_to_float8(transformer, "cpu")
    kinds = {type(module) for module in transformer.transformer_blocks.modules()}
    assert Float8Linear in kinds
    assert torch.nn.Linear not in kinds
    assert isinstance(transformer.proj_out, torch.nn.Linear)
    compile_blocks(transformer, None, backend="eager")
    counters.clear()
    found = transformer(**arguments)[0].float()
    assert counters["stats"]["unique_graphs"] == 1
    assert float((found - plain).norm() / plain.norm()) < 0.1


@torch.no_grad()
def test_no_kernel_of_a_block_is_chosen_by_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the same fill differs from process to process. The environment variable would hold for the first graph."""
    torch._dynamo.reset()
    seen: list[bool] = []

    def watched(graph: torch.fx.GraphModule, *_: Any, config_patches: dict[str, Any], **others: Any) -> Any:
        seen.append(config_patches["deterministic"])
        return graph

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", watched)
    transformer = tiny_transformer()
    use_real_rotations(transformer)
    compile_blocks(transformer, None)
    for height in (4, 8):
        transformer(
            hidden_states=torch.randn(1, height * 6, 16),
            encoder_hidden_states=torch.randn(1, 5, 32),
            encoder_hidden_states_mask=None,
            timestep=torch.tensor([0.7]),
            img_shapes=[[(1, height, 6)]],
            return_dict=False,
        )
    assert seen == [True, True]
