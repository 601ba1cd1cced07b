"""MoGe: the published structure, strict loading, the perspective fit and the estimate."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from scenewright_stages.backends.depth.interface import DEPTH, DepthEstimator
from scenewright_stages.backends.depth.moge import backbone
from scenewright_stages.backends.depth.moge.backbone import BackboneSize, token_grid
from scenewright_stages.backends.depth.moge.estimator import read_checkpoint
from scenewright_stages.backends.depth.moge.geometry import (
    fit_perspective,
    focal_from_field_of_view,
    pixel_intrinsics,
    view_plane_grid,
)
from scenewright_stages.backends.depth.moge.networks import MogeV1, MogeV2, build_network
from scenewright_stages.backends.runtime.errors import BackendContractError, BrokenWeights
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.backends.runtime.registry import backend

TINY = BackboneSize(width=16, depth=4, heads=2)
WIDTHS = [32, 16, 16, 8, 8]
RESAMPLERS = ["conv_transpose", "conv_transpose", "pixel_shuffle", "bilinear"]

# The first release's own keys, with sizes that a test can afford.
CONFIG_V1: dict[str, Any] = {
    "encoder": "tiny", "remap_output": "exp", "output_mask": True, "split_head": True, "intermediate_layers": 4,
    "dim_proj": 32, "dim_upsample": [32, 32, 32], "dim_times_res_block_hidden": 2, "num_res_blocks": 1,
    "trained_area_range": [8_000, 16_000], "last_conv_channels": 32, "last_conv_size": 1,
}  # fmt: skip


def _stack(dim_in: list[int], dim_out: Any, blocks: list[int], widths: list[int]) -> dict[str, Any]:
    return {
        "dim_in": dim_in, "dim_out": dim_out, "dim_res_blocks": widths, "num_res_blocks": blocks,
        "res_block_in_norm": "none", "res_block_hidden_norm": "none", "resamplers": RESAMPLERS,
    }  # fmt: skip


def _config_v2(encoder: str, layers: list[int], widths: list[int], scale: list[int]) -> dict[str, Any]:
    def head(channels: int) -> dict[str, Any]:
        return _stack(widths, [None, None, None, None, channels], [0, 1, 1, 1, 0], widths)

    return {
        "encoder": {"backbone": encoder, "intermediate_layers": layers, "dim_out": widths[0]},
        "neck": _stack([widths[0] + 2, 2, 2, 2, 2], None, [0, 2, 2, 2, 0], widths),
        "points_head": head(3), "normal_head": head(3), "mask_head": head(1), "scale_head": {"dims": scale},
        "remap_output": "exp", "num_tokens_range": [24, 48],
    }  # fmt: skip


CONFIG_V2 = _config_v2("tiny", [0, 1, 2, 3], WIDTHS, [16, 16, 1])


def _scale(variant: str) -> str:
    traits = backend("depth", "moge").depth_traits(variant)
    assert traits is not None
    return traits.scale


@pytest.fixture(autouse=True)
def _tiny_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(backbone.SIZES, "tiny", TINY)


def _wired_v1(field_of_view: float, slope: float) -> MogeV1:
    """A network that answers a tilted plane seen under a known field of view, whatever it is shown.

    The last two channels before the output are the view-plane coordinates u and v; four units of the hidden
    layer take their positive and negative parts, from which x = u / focal, y = v / focal, log z = 1 + slope * v.
    """
    network = build_network(CONFIG_V1)
    assert isinstance(network, MogeV1)
    points, mask = network.head.output_block
    for layer in (points[0], points[2], mask[0], mask[2]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    gain = 1 / focal_from_field_of_view(field_of_view, 96, 64)
    with torch.no_grad():
        for unit, (channel, sign) in enumerate([(-2, 1), (-2, -1), (-1, 1), (-1, -1)]):
            points[0].weight[unit, channel, 1, 1] = sign
            points[2].weight[0 if channel == -2 else 1, unit] = sign * gain
            if channel == -1:
                points[2].weight[2, unit] = sign * slope
        points[2].bias[2] = 1.0
        mask[2].bias[0] = 1.0
    return network


def _wired_v2(field_of_view: float, slope: float, scale: float) -> MogeV2:
    """The same plane from version 2: the view-plane coordinates enter at the finest level of the neck."""
    network = build_network(CONFIG_V2)
    assert isinstance(network, MogeV2)
    points, mask = network.get_submodule("points_head"), network.get_submodule("mask_head")
    gain = 1 / focal_from_field_of_view(field_of_view, 96, 64)
    with torch.no_grad():
        for stack in (network.neck, points, mask):
            for parameter in [*stack.resamplers[3].parameters(), *stack.input_blocks[4].parameters()]:
                parameter.zero_()
            for channel in (0, 1):
                stack.input_blocks[4].weight[channel, channel] = 1.0
        for head, biases in ((points, [0.0, 0.0, 1.0]), (mask, [3.0])):
            head.output_blocks[4].weight.zero_()
            head.output_blocks[4].bias.copy_(torch.tensor(biases))
        points.output_blocks[4].weight[0, 0] = points.output_blocks[4].weight[1, 1] = gain
        points.output_blocks[4].weight[2, 1] = slope
        network.scale_head[2].weight.zero_()
        network.scale_head[2].bias.fill_(float(np.log(scale)))
    return network


def _save(network: torch.nn.Module, config: dict[str, Any], cache: Path, name: str = "moge-vitl") -> Path:
    path = cache / "Ruicheng" / name / "model.pt"
    path.parent.mkdir(parents=True)
    torch.save({"model_config": config, "model": network.state_dict()}, path)
    return path


def _load(cache: Path, variant: str, **options: Any) -> DepthEstimator:
    context = ModelContext(cache, device="cpu", variant=variant, options=options)
    return ModelPool().load(DEPTH, "moge", context)


IMAGE = np.random.default_rng(0).random((64, 96, 3), dtype=np.float32)


# --- the published structure


@pytest.mark.parametrize(
    ("config", "millions"),
    [
        # Ruicheng/moge-vitl as its training configuration in the MoGe repository has it.
        ({"encoder": "dinov2_vitl14", "remap_output": "exp", "intermediate_layers": 4, "dim_upsample": [256, 128, 64],
          "dim_times_res_block_hidden": 2, "num_res_blocks": 2, "num_tokens_range": [1200, 2500],
          "last_conv_channels": 32, "last_conv_size": 1}, 314),
        # Ruicheng/moge-2-vitl-normal likewise.
        (_config_v2("dinov2_vitl14", [5, 11, 17, 23], [1024, 256, 128, 64, 32], [1024, 1024, 1024, 1])
         | {"neck": _stack([1026, 2, 2, 2, 2], None, [0, 2, 2, 2, 0], [1024, 256, 128, 64, 32])}, 331),
    ],
    ids=["moge-vitl", "moge-2-vitl-normal"],
)  # fmt: skip
def test_the_networks_have_the_published_number_of_parameters(config: dict[str, Any], millions: int) -> None:
    for part in ("neck", "points_head", "mask_head", "normal_head"):
        if part in config:
            config = config | {part: config[part] | {"resamplers": ["conv_transpose"] * 3 + ["bilinear"]}}
    with torch.device("meta"):
        network = build_network(config)
    assert abs(sum(parameter.numel() for parameter in network.parameters()) / 1e6 - millions) < 1.5


def test_parameters_carry_the_published_names() -> None:
    first, second = (set(build_network(config).state_dict()) for config in (CONFIG_V1, CONFIG_V2))
    assert {
        "image_mean", "backbone.cls_token", "backbone.mask_token", "backbone.blocks.3.ls2.gamma",
        "backbone.blocks.0.attn.qkv.bias", "head.projects.3.weight", "head.upsample_blocks.0.0.1.weight",
        "head.upsample_blocks.2.1.layers.5.bias", "head.output_block.1.2.bias",
    } <= first  # fmt: skip
    assert {
        "encoder.image_std", "encoder.backbone.pos_embed", "encoder.output_projections.0.weight",
        "neck.input_blocks.4.bias", "neck.res_blocks.1.1.layers.2.weight", "neck.resamplers.2.2.weight",
        "neck.resamplers.3.1.weight", "points_head.output_blocks.4.weight", "mask_head.input_blocks.0.weight",
        "normal_head.res_blocks.3.0.layers.5.bias", "scale_head.2.weight",
    } <= second  # fmt: skip


def test_the_first_releases_area_becomes_a_number_of_patches() -> None:
    network = build_network(CONFIG_V1)
    assert network.tokens_range == (8_000 // 196, 16_000 // 196)


def test_the_grid_of_patches_follows_the_aspect_ratio() -> None:
    assert token_grid(3600, 400, 400) == (60, 60)
    assert token_grid(1200, 800, 200) == (17, 69)
    assert token_grid(3, 1000, 10) == (1, 17)


# --- strict loading


def test_a_saved_checkpoint_loads_and_answers_as_before(tmp_path: Path) -> None:
    for name, config in (("moge-vitl", CONFIG_V1), ("moge-2-vitl", CONFIG_V2)):
        network = build_network(config).eval()
        loaded = read_checkpoint(_save(network, config, tmp_path, name)).eval()
        image = torch.rand(1, 3, 70, 90)
        with torch.inference_mode():
            assert torch.equal(network(image, 80).points, loaded(image, 80).points)


@pytest.mark.parametrize("damage", ["lacking", "superfluous", "wrong shape", "no config", "truncated", "code"])
def test_a_file_that_is_not_exactly_the_network_is_refused(tmp_path: Path, damage: str) -> None:
    path = _save(build_network(CONFIG_V1), CONFIG_V1, tmp_path)
    content = torch.load(path, weights_only=True)
    if damage == "lacking":
        del content["model"]["backbone.norm.weight"]
    elif damage == "superfluous":
        content["model"]["extra"] = torch.zeros(1)
    elif damage == "wrong shape":
        content["model"]["backbone.norm.weight"] = torch.zeros(7)
    elif damage == "no config":
        del content["model_config"]
    elif damage == "code":
        content["model_config"]["payload"] = _Payload()
    torch.save(content, path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(BrokenWeights, match="Ruicheng/moge-vitl"):
        _load(tmp_path, "vitl")


class _Payload:
    """Unpickling it would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("exit 3",))


# --- the perspective fit


def _scene(width: int, height: int, field_of_view: float, shift: float, seed: int) -> np.ndarray:
    """(H, W, 3) points of a bumpy floor whose z has lost a constant, as an affine-invariant network gives it."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = np.sin(columns / width * generator.uniform(2, 6) + seed)
    z = 2 + generator.uniform(0.2, 1.5) * waves + generator.uniform(0.2, 0.9) * rows / height
    rays = view_plane_grid(width, height) / focal_from_field_of_view(field_of_view, width, height)
    return np.concatenate([rays * z[..., None], (z - shift)[..., None]], axis=-1).astype(np.float32)


@pytest.mark.parametrize("seed", range(6))
def test_focal_length_and_shift_are_recovered(seed: int) -> None:
    width, height, field_of_view, shift = 120 + 30 * seed, 200 - 20 * seed, 35.0 + 12 * seed, -0.4 + 0.2 * seed
    points = _scene(width, height, field_of_view, shift, seed)
    mask = np.random.default_rng(seed).random((height, width)) > 0.3
    truth = focal_from_field_of_view(field_of_view, width, height)
    fit = fit_perspective(points, mask, None)
    assert abs(fit.focal / truth - 1) < 1e-5
    assert abs(fit.shift - shift) < 1e-5
    known = fit_perspective(points, mask, truth)
    assert known.focal == truth
    assert abs(known.shift - shift) < 1e-5


def test_noise_moves_the_fit_little_and_ignoring_the_shift_is_far_worse() -> None:
    points = _scene(160, 120, 60.0, 0.7, 1)
    points += np.random.default_rng(0).normal(0, 0.01, points.shape).astype(np.float32)
    mask = np.ones(points.shape[:2], np.bool_)
    truth = focal_from_field_of_view(60.0, 160, 120)
    error = abs(fit_perspective(points, mask, None).focal / truth - 1)
    directions = points[..., :2] / points[..., 2:]
    unshifted = (directions * view_plane_grid(160, 120)).sum() / (directions**2).sum()
    assert error < 0.01
    assert abs(unshifted / truth - 1) > 10 * error


def test_invalid_points_do_not_enter_the_fit() -> None:
    points = _scene(160, 120, 60.0, 0.2, 2)
    mask = np.ones(points.shape[:2], np.bool_)
    points[:60], mask[:60] = 1e6, False
    points[100, 50] = np.nan
    assert abs(fit_perspective(points, mask, None).shift - 0.2) < 1e-5


def test_points_without_perspective_are_refused() -> None:
    mirrored = _scene(100, 80, 60.0, 0.0, 3) * np.array([-1, -1, 1], np.float32)
    everything = np.ones((80, 100), np.bool_)
    with pytest.raises(ValueError, match="no perspective camera"):
        fit_perspective(mirrored, everything, None)
    with pytest.raises(ValueError, match="two valid points"):
        fit_perspective(mirrored, ~everything, None)


def test_intrinsics_have_square_pixels_and_the_field_of_view() -> None:
    intrinsics = pixel_intrinsics(focal_from_field_of_view(70.0, 200, 100), 200, 100)
    assert np.degrees(2 * np.arctan(100 / intrinsics[0, 0])) == pytest.approx(70.0)
    assert intrinsics[0, 0] == intrinsics[1, 1]
    assert (intrinsics[0, 2], intrinsics[1, 2]) == (100.0, 50.0)


# --- the estimate


def test_a_plane_under_a_known_field_of_view_is_estimated_as_such(tmp_path: Path) -> None:
    _save(_wired_v1(65.0, 0.4), CONFIG_V1, tmp_path)
    estimate = _load(tmp_path, "vitl").estimate(IMAGE)
    assert estimate.intrinsics is not None
    assert np.degrees(2 * np.arctan(48 / estimate.intrinsics[0, 0])) == pytest.approx(65.0, abs=0.2)
    truth = np.exp(1 + 0.4 * view_plane_grid(96, 64)[..., 1])
    np.testing.assert_allclose(estimate.depth, truth, rtol=5e-3)
    assert np.abs(estimate.depth[::-1] / truth - 1).max() > 0.1
    assert not estimate.is_metric
    assert _scale("vitl") == "unknown"
    assert estimate.notes
    assert (estimate.confidence == 1).all()


def test_pixels_outside_the_mask_are_infinitely_far(tmp_path: Path) -> None:
    network = _wired_v1(65.0, 0.4)
    _, mask = network.head.output_block
    with torch.no_grad():
        mask[0].weight[0, -1, 1, 1] = -100.0  # below 0.5 in the upper half, where v is negative
        mask[2].weight[0, 0] = -1.0
    _save(network, CONFIG_V1, tmp_path)
    estimate = _load(tmp_path, "vitl").estimate(IMAGE)
    assert np.isinf(estimate.depth[:24]).all()
    assert (estimate.confidence[:24] == 0).all()
    assert np.isfinite(estimate.depth[40:]).all()


def test_a_given_field_of_view_is_kept_and_the_estimate_is_repeatable(tmp_path: Path) -> None:
    _save(_wired_v1(65.0, 0.4), CONFIG_V1, tmp_path)
    estimator = _load(tmp_path, "vitl")
    first, second = estimator.estimate(IMAGE, 50.0), estimator.estimate(IMAGE, 50.0)
    assert first.intrinsics is not None
    assert first.intrinsics[0, 0] == pytest.approx(48 / np.tan(np.radians(25.0)))
    np.testing.assert_array_equal(first.depth, second.depth)
    assert not np.allclose(first.depth, estimator.estimate(IMAGE).depth, rtol=1e-3)


def test_version_2_multiplies_by_its_metric_scale(tmp_path: Path) -> None:
    truth = np.exp(1 + 0.4 * view_plane_grid(96, 64)[..., 1])
    for scale in (1.0, 3.0):
        cache = tmp_path / str(scale)
        _save(_wired_v2(65.0, 0.4, scale), CONFIG_V2, cache, "moge-2-vitl")
        estimate = _load(cache, "2-vitl").estimate(IMAGE)
        assert estimate.is_metric
        assert _scale("2-vitl") == "metric"
        assert estimate.intrinsics is not None
        assert np.degrees(2 * np.arctan(48 / estimate.intrinsics[0, 0])) == pytest.approx(65.0, abs=1.0)
        np.testing.assert_allclose(estimate.depth, scale * truth, rtol=2e-2)
        assert estimate.confidence.max() == pytest.approx(1 / (1 + np.exp(-3.0)), rel=1e-3)


def test_an_image_without_anything_valid_is_a_failure_of_the_sample(tmp_path: Path) -> None:
    network = _wired_v1(65.0, 0.4)
    with torch.no_grad():
        network.head.output_block[1][2].bias[0] = -1.0
    _save(network, CONFIG_V1, tmp_path)
    with pytest.raises(BackendContractError, match="no geometry"):
        _load(tmp_path, "vitl").estimate(IMAGE)


def test_licence_and_weights_are_recorded(tmp_path: Path) -> None:
    _save(_wired_v1(65.0, 0.4), CONFIG_V1, tmp_path)
    record = _load(tmp_path, "vitl").record
    assert (record.weights_id, record.variant, record.licence) == ("Ruicheng/moge-vitl", "vitl", "mit")
    assert (record.precision, record.device) == ("fp32", "cpu")
    assert not record.non_commercial


@pytest.mark.parametrize(("level", "tokens"), [(0, 40), (9, 81)])
def test_the_resolution_level_chooses_the_number_of_patches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: int, tokens: int
) -> None:
    _save(_wired_v1(65.0, 0.4), CONFIG_V1, tmp_path)
    estimator = _load(tmp_path, "vitl", resolution_level=level)
    seen: list[int] = []
    forward = MogeV1.forward
    monkeypatch.setattr(MogeV1, "forward", lambda self, image, count: seen.append(count) or forward(self, image, count))
    estimator.estimate(IMAGE)
    assert seen == [tokens]
