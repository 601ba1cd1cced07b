"""Depth Pro and Depth Anything with tiny random weights in the published format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    DepthProConfig,
    DepthProForDepthEstimation,
)

from scenewright_stages.backends.depth.depth_anything import AssumedRange, depth_from_relative, model_size
from scenewright_stages.backends.depth.depth_pro import metric_depth, model_side
from scenewright_stages.backends.depth.interface import DEPTH, DepthEstimator
from scenewright_stages.backends.runtime.errors import BackendContractError, UnsupportedOption
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool

IMAGE = np.random.default_rng(0).random((50, 70, 3), dtype=np.float32)
DEPTH_PRO = Path("apple") / "DepthPro-hf"
TINY_ENCODER: dict[str, Any] = {
    "model_type": "dinov2", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8,
    "mlp_ratio": 2,
}  # fmt: skip


def _load(cache: Path, backend: str, variant: str | None = None, **options: Any) -> DepthEstimator:
    accepted = frozenset({"apple-amlr", "cc-by-nc-4.0"})
    context = ModelContext(cache, device="cpu", accepted_licences=accepted, variant=variant, options=options)
    return ModelPool().load(DEPTH, backend, context)


# --- Depth Pro


def _tiny_depth_pro(field_of_view: bool = True) -> DepthProForDepthEstimation:
    torch.manual_seed(0)
    encoder = TINY_ENCODER | {"image_size": 32}
    config = DepthProConfig(
        patch_size=32, fusion_hidden_size=16, intermediate_hook_ids=[1, 0], intermediate_feature_dims=[8, 8],
        scaled_images_ratios=[0.5, 1.0], scaled_images_overlap_ratios=[0.0, 0.5], scaled_images_feature_dims=[8, 8],
        use_fov_model=field_of_view, image_model_config=encoder, patch_model_config=dict(encoder),
        fov_model_config=dict(encoder),
    )  # fmt: skip
    model = DepthProForDepthEstimation(config)
    with torch.no_grad():
        # A random head may answer no inverse depth at all (its last step is a ReLU), or no angle.
        model.head.layers[-2].bias.fill_(0.3)
        if field_of_view:
            model.fov_model.head.layers[-1].bias.fill_(55.0)
    return model


@pytest.fixture(scope="module")
def depth_pro_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("depth-pro")
    _tiny_depth_pro().save_pretrained(root / DEPTH_PRO)
    return root


def _reference_depth_pro(cache: Path, deviation: float) -> tuple[np.ndarray, float]:
    """Depth and focal length by the published steps: normalise, squeeze to a square, undo both."""
    model = DepthProForDepthEstimation.from_pretrained(cache / DEPTH_PRO).eval()
    image = (torch.from_numpy(IMAGE).permute(2, 0, 1)[None] - 0.5) / deviation
    square = torch.nn.functional.interpolate(image, (64, 64), mode="bilinear", align_corners=False)
    with torch.inference_mode():
        answer = model(pixel_values=square)
    height, width = IMAGE.shape[:2]
    focal = 0.5 * width / torch.tan(0.5 * torch.deg2rad(answer.field_of_view[0]))
    inverse = answer.predicted_depth[None] * width / focal
    inverse = torch.nn.functional.interpolate(inverse, (height, width), mode="bilinear", align_corners=False)
    return (1 / inverse.clamp(1e-4, 1e4))[0, 0].numpy(), float(focal)


def test_depth_pro_answers_as_the_published_steps_do(depth_pro_cache: Path) -> None:
    estimate = _load(depth_pro_cache, "depth-pro").estimate(IMAGE)
    depth, focal = _reference_depth_pro(depth_pro_cache, deviation=0.5)
    assert estimate.valid.mean() > 0.3
    np.testing.assert_allclose(estimate.depth[estimate.valid], depth[estimate.valid], rtol=1e-4)
    assert (depth[~estimate.valid] == 1e4).all()
    assert estimate.intrinsics is not None
    assert estimate.intrinsics[0, 0] == pytest.approx(focal, rel=1e-5)
    otherwise_normalised, _ = _reference_depth_pro(depth_pro_cache, deviation=1.0)
    assert not np.allclose(estimate.depth[estimate.valid], otherwise_normalised[estimate.valid], rtol=1e-2)


def test_depth_pro_keeps_a_given_field_of_view_and_scales_with_it(depth_pro_cache: Path) -> None:
    estimator = _load(depth_pro_cache, "depth-pro")
    narrow, wide = estimator.estimate(IMAGE, 40.0), estimator.estimate(IMAGE, 80.0)
    ratio = np.tan(np.radians(40.0)) / np.tan(np.radians(20.0))
    np.testing.assert_allclose(narrow.depth, wide.depth * ratio, rtol=1e-5)
    assert narrow.intrinsics is not None
    assert narrow.intrinsics[0, 0] == pytest.approx(35 / np.tan(np.radians(20.0)))
    assert narrow.intrinsics[:2, 2].tolist() == [35.0, 25.0]
    assert narrow.notes == ()
    assert "estimated" in estimator.estimate(IMAGE).notes[0]


def test_depth_pro_is_repeatable_and_recorded(depth_pro_cache: Path) -> None:
    estimator = _load(depth_pro_cache, "depth-pro")
    first = estimator.estimate(IMAGE)
    assert (first.depth.shape, first.depth.dtype, first.is_metric) == ((50, 70), np.float32, True)
    np.testing.assert_array_equal(first.depth, estimator.estimate(IMAGE).depth)
    record = estimator.record
    assert (record.weights_id, record.licence, record.non_commercial) == ("apple/DepthPro-hf", "apple-amlr", True)
    assert record.precision == "fp32"


def test_depth_pro_without_an_angle_needs_one(tmp_path: Path) -> None:
    _tiny_depth_pro(field_of_view=False).save_pretrained(tmp_path / DEPTH_PRO)
    estimator = _load(tmp_path, "depth-pro")
    with pytest.raises(BackendContractError, match="field of view"):
        estimator.estimate(IMAGE)
    assert estimator.estimate(IMAGE, 60.0).valid.any()


def test_canonical_inverse_depth_becomes_metres() -> None:
    canonical = np.array([[0.25, 0.5, 1e-6, 0.0, np.nan, np.inf]], np.float32)
    depth = metric_depth(canonical, 90.0)
    np.testing.assert_allclose(depth[0, :2], [2.0, 1.0], rtol=1e-6)
    assert np.isinf(depth[0, 2:]).all()


def test_the_published_depth_pro_sees_a_square_of_1536() -> None:
    assert model_side(DepthProConfig()) == 1536


# --- Depth Anything


def _tiny_depth_anything(cache: Path, name: str, kind: str, max_depth: float) -> None:
    torch.manual_seed(0)
    encoder = TINY_ENCODER | {
        "num_hidden_layers": 4, "patch_size": 14, "image_size": 56, "reshape_hidden_states": False,
        "out_indices": [1, 2, 3, 4], "apply_layernorm": True,
    }  # fmt: skip
    config = DepthAnythingConfig(
        backbone_config=encoder, patch_size=14, reassemble_hidden_size=16, neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8, head_hidden_size=8, depth_estimation_type=kind, max_depth=max_depth,
    )  # fmt: skip
    model = DepthAnythingForDepthEstimation(config)
    with torch.no_grad():
        for name_of, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.1)
            elif name_of == "head.conv3.bias":
                parameter.fill_(1.0)
    model.save_pretrained(cache / "depth-anything" / name)


@pytest.fixture(scope="module")
def depth_anything_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("depth-anything")
    _tiny_depth_anything(root, "Depth-Anything-V2-Small-hf", "relative", 1)
    _tiny_depth_anything(root, "Depth-Anything-V2-Metric-Indoor-Small-hf", "metric", 20)
    return root


def test_relative_depth_is_spread_over_the_assumed_range(depth_anything_cache: Path) -> None:
    estimate = _load(depth_anything_cache, "depth-anything", near_metres=2.0, far_near_ratio=4.0).estimate(IMAGE)
    assert estimate.depth.shape == (50, 70)
    assert np.percentile(estimate.depth, 1) == pytest.approx(2.0, rel=1e-3)
    assert estimate.depth.max() == pytest.approx(8.0, rel=1e-5)
    assert not estimate.is_metric
    assert estimate.intrinsics is None
    assert "assumed 2 to 8 m" in estimate.notes[0]


def test_metric_weights_answer_metres_within_their_range(depth_anything_cache: Path) -> None:
    estimator = _load(depth_anything_cache, "depth-anything", "metric-indoor-small")
    estimate = estimator.estimate(IMAGE, 60.0)
    assert estimate.is_metric
    assert estimate.notes == ()
    assert 0 < estimate.depth.min() < estimate.depth.max() <= 20.0
    assert estimate.intrinsics is not None
    assert estimate.intrinsics[0, 0] == pytest.approx(35 / np.tan(np.radians(30.0)))
    np.testing.assert_array_equal(estimate.depth, estimator.estimate(IMAGE, 60.0).depth)
    assert estimator.record.licence == "apache-2.0"


def test_the_small_and_the_metric_weights_are_distinguished(depth_anything_cache: Path) -> None:
    small = _load(depth_anything_cache, "depth-anything")
    metric = _load(depth_anything_cache, "depth-anything", "metric-indoor-small")
    assert small.record.weights_id != metric.record.weights_id
    assert small.record.variant == "small"


def test_the_image_is_shown_at_the_training_size_in_whole_patches() -> None:
    assert model_size(480, 640, 518, 14) == (518, 686)
    assert model_size(640, 480, 518, 14) == (686, 518)
    assert model_size(2000, 2000, 518, 14) == (518, 518)


def test_conversion_of_relative_depth_is_strictly_monotone() -> None:
    inverse = np.sort(np.random.default_rng(1).random(500).astype(np.float32)).reshape(1, -1) * 40 + 3
    depth = depth_from_relative(inverse, AssumedRange(1.0, 5.0))
    kept = np.diff(inverse[0]) > 1e-4
    kept[:5] = False
    assert (np.diff(depth[0])[kept] < 0).all(), "but for the farthest percent"
    np.testing.assert_allclose(depth, depth_from_relative(7 * inverse + 2, AssumedRange(1.0, 5.0)), rtol=1e-4)


def test_values_that_are_not_finite_stay_invalid_and_do_not_move_the_others() -> None:
    inverse = np.array([[0.0, 1.0, np.nan, 2.0, np.inf]], np.float32)
    depth = depth_from_relative(inverse, AssumedRange(1.0, 4.0))
    np.testing.assert_allclose(depth[0, [0, 1, 3]], [4.0, 1.6, 1.0], rtol=0.02)
    assert np.isnan(depth[0, [2, 4]]).all()


def test_one_stray_pixel_does_not_set_the_scale() -> None:
    inverse = np.linspace(1, 2, 1000, dtype=np.float32).reshape(20, 50)
    stray = inverse.copy()
    stray[0, 0], stray[0, 1] = -50.0, 90.0
    clean, spoilt = (depth_from_relative(values, AssumedRange(1.0, 4.0)) for values in (inverse, stray))
    np.testing.assert_allclose(spoilt[1:], clean[1:], rtol=0.02)
    spread = 1 / (0.25 + 0.75 * (stray + 50) / 140)
    assert np.abs(spread / clean - 1)[1:].max() > 0.4, "minimum and maximum must lose"


@pytest.mark.parametrize("inverse", [np.full((2, 3), 5.0, np.float32), np.full((2, 3), np.nan, np.float32)])
def test_an_answer_without_relief_is_refused(inverse: np.ndarray) -> None:
    with pytest.raises(BackendContractError):
        depth_from_relative(inverse, AssumedRange())


@pytest.mark.parametrize("limits", [(0.0, 5.0), (5.0, 1.0), (6.0, 0.5), (1.0, np.inf)])
def test_an_impossible_range_is_refused(depth_anything_cache: Path, limits: tuple[float, float]) -> None:
    with pytest.raises(UnsupportedOption, match="near > 0"):
        _load(depth_anything_cache, "depth-anything", near_metres=limits[0], far_near_ratio=limits[1])


def test_a_released_model_is_gone(depth_anything_cache: Path) -> None:
    estimator = _load(depth_anything_cache, "depth-anything")
    estimator.release()
    with pytest.raises(RuntimeError, match="released"):
        estimator.estimate(IMAGE)
