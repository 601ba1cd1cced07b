"""SEVA's network: the published sizes and names, and which files are refused."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_seva import TINY, save_tiny_network

from scenewright_stages.backends.novel_views.seva.checkpoint import CHECKPOINT, load_network
from scenewright_stages.backends.novel_views.seva.network import SevaNetwork
from scenewright_stages.backends.runtime.checkpoints import SHAPE
from scenewright_stages.backends.runtime.errors import BrokenWeights

PUBLISHED_TENSORS = 1146
PUBLISHED_PARAMETERS = 1_263_968_004
PUBLISHED_DIGEST = "aa030ab0b61d25c6c9e8c26297ab33b8e97331a0882f8ba077f608ea1daa4559"
"""SHA-256 of the published names and shapes, sorted, one a line."""


def test_the_network_has_exactly_the_published_tensors() -> None:
    with torch.device("meta"):
        state = SevaNetwork().state_dict()
    assert len(state) == PUBLISHED_TENSORS
    assert sum(value.numel() for value in state.values()) == PUBLISHED_PARAMETERS
    assert state["input_blocks.1.1.time_mix_blocks.0.attn2.to_k.weight"].shape == (320, 1024)
    assert state["input_blocks.1.0.dense_emb_layers.0.weight"].shape == (640, 6, 1, 1)
    lines = sorted(f"{name} {list(value.shape)}" for name, value in state.items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == PUBLISHED_DIGEST


def test_a_checkpoint_in_the_published_format_loads(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = save_tiny_network(tmp_path)
    given = _given(frames=3)
    torch.testing.assert_close(load_network(tmp_path)(*given, 3), network(*given, 3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("rename", "it lacks out.2.bias; out.3.bias is not a tensor of SEVA 1.1"),
        ("shape", "out.2.bias has the shape (5,), not (4,)"),
        ("missing", "it lacks out.2.bias"),
    ],
)
def test_a_wrong_name_or_shape_is_refused(tmp_path: Path, change: str, said: str) -> None:
    save_tiny_network(tmp_path)
    tensors = load_file(tmp_path / CHECKPOINT)
    value = tensors.pop("out.2.bias")
    changed = {"rename": {"out.3.bias": value}, "shape": {"out.2.bias": torch.zeros(5)}, "missing": {}}[change]
    save_file({**tensors, **changed}, tmp_path / CHECKPOINT)
    with pytest.raises(BrokenWeights, match=re.escape(said)):
        load_network(tmp_path)


def test_a_network_of_other_sizes_needs_to_say_so(tmp_path: Path) -> None:
    save_tiny_network(tmp_path)
    (tmp_path / SHAPE).unlink()
    with pytest.raises(BrokenWeights, match="more"):
        load_network(tmp_path)


def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path: Path) -> None:
    save_tiny_network(tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(b"<html>")
    with pytest.raises(BrokenWeights, match="cannot be read"):
        load_network(tmp_path)


def test_windows_of_a_batch_do_not_see_each_other() -> None:
    torch.manual_seed(2)
    network = SevaNetwork(TINY).eval()
    one, other = _given(frames=2), _given(frames=2)
    together = network(*(torch.cat(pair) for pair in zip(one, other, strict=True)), 2)
    torch.testing.assert_close(together[:2], network(*one, 2), atol=1e-5, rtol=1e-4)
    assert (together[2:] - together[:2]).abs().max() > 1e-3


def test_frames_of_a_window_see_each_other() -> None:
    torch.manual_seed(3)
    network = SevaNetwork(TINY).eval()
    given, times, context, rays = _given(frames=2)
    changed = given.clone()
    changed[1] += 1
    before, after = (network(each, times, context, rays, 2)[0] for each in (given, changed))
    assert (before - after).abs().max() > 1e-4


def _given(frames: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    rays = torch.randn(frames, 6, 8, 8)
    return torch.randn(frames, 11, 8, 8), torch.full((frames,), 500), torch.randn(frames, 1, TINY.context), rays
