"""MapAnything: the published sizes and names, the published network's numbers, refused files, cameras from rays."""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.spatial.transform import Rotation
from tiny_map_anything import TINY, save_tiny_map_anything, tiny_network
from tiny_vggt import tiny_pictures

from scenewright_stages.backends.geometry.facts import MAP_ANYTHING
from scenewright_stages.backends.geometry.interface import GEOMETRY, GeometryEstimator
from scenewright_stages.backends.geometry.map_anything.estimator import (
    CHECKPOINT,
    camera_of,
    fitting_size,
    load_network,
    normalised,
)
from scenewright_stages.backends.geometry.map_anything.network import (
    MapAnythingNetwork,
    MapAnythingShape,
    expected_shapes,
    first_name,
)
from scenewright_stages.backends.runtime.checkpoints import SHAPE
from scenewright_stages.backends.runtime.errors import BackendContractError, BrokenWeights
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.vision.geometry.points import unproject

PUBLISHED_TENSORS = 736
PUBLISHED_PARAMETERS = 1_228_492_758
PUBLISHED_DIGEST = "3f3381148016b23cc1c997b430357814208f230ee82078da993e8c9019685fca"
"""SHA-256 of the published names and shapes, sorted, one a line."""
BIAS = "pose_head.fc_t.bias"
SHARED = "dense_head.0.input_process.1.1.weight"
MEAN, DEVIATION = (torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
GOLDEN = {
    "rays": [
        [[0.068840, -0.172502, 0.982601], [0.046199, -0.157267, 0.986475], [0.047679, -0.158366, 0.986229]],
        [[0.019479, -0.131910, 0.991070], [0.025667, -0.136005, 0.990376], [0.026428, -0.136634, 0.990269]],
        [[-0.156471, 0.015003, 0.987569], [-0.296642, 0.146774, 0.943642], [-0.237927, 0.097032, 0.966424]],
    ],
    "distance": [
        [2.761869, 2.772811, 2.771061], [2.858942, 2.857461, 2.856002], [3.149219, 3.448388, 3.374363],
    ],
    "confidence": [
        [2.205966, 2.209902, 2.210216], [2.175350, 2.173648, 2.174095], [2.096603, 2.012317, 2.025105],
    ],
}  # fmt: skip
"""Of the first of three pictures of 42 x 70, by the published program's own network with the same parameters."""
GOLDEN_LOGITS = [[1.505796, 1.495479, 1.495603], [1.521469, 1.524816, 1.524584], [1.560192, 1.625621, 1.622807]]
GOLDEN_TRANSLATIONS = [
    [-1.214754, -0.015445, 1.266948], [-1.214797, -0.015517, 1.266958], [-1.214795, -0.015514, 1.266957],
]  # fmt: skip
GOLDEN_TURNS = [
    [-0.554561, -0.404792, 0.416141, 0.596182], [-0.554544, -0.404825, 0.416107, 0.596199],
    [-0.554544, -0.404824, 0.416109, 0.596198],
]  # fmt: skip
GOLDEN_SCALE = 1.345634
GOLDEN_PIXELS = [
    [[0.108314, 2.043411, -1.604161], [-1.261666, -0.953421, 2.248908], [2.146160, -0.268431, -1.775409]],
    [[2.411064, -1.020308, -1.002801], [-1.387955, 2.288516, 0.047619], [0.537815, -1.948179, 1.658263]],
    [[-0.183529, -1.281569, 2.430850], [2.186841, 0.931939, -1.752157], [-1.804444, 1.297952, 1.907974]],
]
"""Of every channel of a picture of 576 x 576, by the published program's own preparation."""


def seen(count: int, height: int, width: int) -> torch.Tensor:
    return (tiny_pictures(count, height, width) - MEAN) / DEVIATION


def test_the_network_has_exactly_the_published_tensors() -> None:
    with torch.device("meta"):
        shapes = expected_shapes(MapAnythingNetwork())
    assert len(shapes) == PUBLISHED_TENSORS
    assert sum(math.prod(shape) for shape in shapes.values()) == PUBLISHED_PARAMETERS
    lines = sorted(f"{name} {list(shape)}" for name, shape in shapes.items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == PUBLISHED_DIGEST


def test_it_answers_what_the_published_network_answers() -> None:
    with torch.inference_mode():
        answer = tiny_network()(seen(3, 42, 70))
    for name, golden in GOLDEN.items():
        torch.testing.assert_close(getattr(answer, name)[0, ::20, ::34], torch.tensor(golden), atol=5e-6, rtol=5e-6)
    for found, expected in (
        (answer.certain[0, ::20, ::34], torch.tensor(GOLDEN_LOGITS).sigmoid()),
        (answer.translations, torch.tensor(GOLDEN_TRANSLATIONS)),
        (answer.turns, torch.tensor(GOLDEN_TURNS)),
        (answer.scale, torch.tensor(GOLDEN_SCALE)),
    ):
        torch.testing.assert_close(found, expected, atol=5e-6, rtol=5e-6)


def test_pictures_see_each_other_and_the_first_one_is_special() -> None:
    network, pictures = tiny_network(), seen(3, 56, 56)
    with torch.inference_mode():
        whole, alone, swapped = (network(each) for each in (pictures, pictures[:1], pictures[[0, 2, 1]]))
    assert (whole.translations[0] - alone.translations[0]).abs().max() > 1e-6
    torch.testing.assert_close(swapped.distance[[0, 2, 1]], whole.distance, atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        first = network(pictures[[1, 0, 2]])
    assert (first.distance[[1, 0, 2]] - whole.distance).abs().max() > 1e-4


def test_a_checkpoint_loads_by_any_of_the_names_that_a_tensor_has(tmp_path: Path) -> None:
    network, pictures = tiny_network(), seen(2, 28, 42)
    save_tiny_map_anything(tmp_path)
    assert torch.equal(load_network(tmp_path, MAP_ANYTHING.id)(pictures).rays, network(pictures).rays)
    tensors = load_file(tmp_path / CHECKPOINT)
    renamed = {
        name.replace("dense_head.0.input_process.1.1.", "dpt_feature_head.scratch.layer2_rn.").replace(
            "dense_head.1.", "dpt_regressor_head."
        ): value
        for name, value in tensors.items()
    }
    assert len(set(renamed) - set(tensors)) == 7 and {first_name(name) for name in renamed} == set(tensors)
    save_file(renamed, tmp_path / CHECKPOINT)
    loaded = load_network(tmp_path, MAP_ANYTHING.id)
    assert torch.equal(loaded(pictures).rays, network(pictures).rays)
    assert not any(name.startswith(("depth_encoder", "cam_")) for name in loaded.state_dict())


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (BIAS, "rename", f"it lacks {BIAS}; renamed.bias is not a tensor of MapAnything"),
        (BIAS, "shape", f"{BIAS} has the shape (5,), not (3,)"),
        (SHARED, "missing", f"it lacks {SHARED}"),
        ("cam_trans_scale_encoder.norm_layer.bias", "shape", "has the shape (5,), not (32,)"),
    ],
)
def test_a_wrong_name_or_shape_is_refused(tmp_path: Path, name: str, change: str, said: str) -> None:
    save_tiny_map_anything(tmp_path)
    tensors = load_file(tmp_path / CHECKPOINT)
    value = tensors.pop(name)
    changed = {"rename": {"renamed.bias": value}, "shape": {name: torch.zeros(5)}, "missing": {}}[change]
    save_file({**tensors, **changed}, tmp_path / CHECKPOINT)
    with pytest.raises(BrokenWeights, match=re.escape(said)):
        load_network(tmp_path, MAP_ANYTHING.id)


def test_files_that_hold_no_network_are_refused(tmp_path: Path) -> None:
    save_tiny_map_anything(tmp_path)
    (tmp_path / SHAPE).write_text('{"widths": 3}')
    with pytest.raises(BrokenWeights, match="does not describe"):
        load_network(tmp_path, MAP_ANYTHING.id)
    (tmp_path / CHECKPOINT).write_bytes(b"<html>")
    (tmp_path / SHAPE).unlink()
    with pytest.raises(BrokenWeights, match="cannot be read"):
        load_network(tmp_path, MAP_ANYTHING.id)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((576, 576), (518, 518)), ((300, 400), (392, 518)), ((400, 300), (518, 392)), ((4, 400), (14, 518))],
)
def test_pictures_are_fitted_to_whole_patches(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fitting_size(*size, MapAnythingShape()) == expected


def test_a_picture_is_prepared_as_by_the_published_program() -> None:
    pixels = (tiny_pictures(1, 576, 576)[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    prepared = normalised(pixels.astype(np.float32) / 255, (518, 518))
    torch.testing.assert_close(prepared[:, ::200, ::170][:, :3, :3], torch.tensor(GOLDEN_PIXELS), atol=2e-6, rtol=0)


def test_cameras_are_those_whose_rays_were_answered() -> None:
    draws = np.random.default_rng(0)
    for _ in range(20):
        turn, place = Rotation.random(rng=draws), draws.normal(size=3)
        fx, fy, cx, cy = *draws.uniform(40, 90, 2), *draws.uniform(15, 30, 2)
        across, down = np.meshgrid(np.arange(56) + 0.5, np.arange(42) + 0.5)
        rays = np.stack([(across - cx) / fx, (down - cy) / fy, np.ones_like(down)], axis=-1)
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        camera = camera_of(rays, place, turn.as_quat() * draws.choice([-1, 1]))
        np.testing.assert_allclose(camera.intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]], (fx, fy, cx, cy), rtol=1e-9)
        distance = draws.uniform(1, 3, (42, 56))
        points = unproject((rays[..., 2] * distance).astype(np.float32), camera)
        expected = turn.apply((rays * distance[..., None]).reshape(-1, 3)) + place
        np.testing.assert_allclose(points.reshape(-1, 3), expected, atol=1e-5)


@pytest.mark.parametrize("spoil", ["behind", "flat", "nan"])
def test_rays_that_no_camera_has_are_refused(spoil: str) -> None:
    across, down = np.meshgrid(np.linspace(-1, 1, 8), np.linspace(-1, 1, 6))
    rays = np.stack([across, down, np.ones_like(down)], axis=-1)
    if spoil == "behind":
        rays[0, 0, 2] = -1
    elif spoil == "flat":
        rays[..., 0] = -rays[..., 0]
    else:
        rays[0, 0] = np.nan
    with pytest.raises(BackendContractError, match="no pinhole camera"):
        camera_of(rays, np.zeros(3), np.array([0, 0, 0, 1.0]))


def test_the_backend_estimates_in_metres_and_is_sure_of_no_sky(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny_map_anything(tmp_path / MAP_ANYTHING.id)
    estimator: GeometryEstimator = ModelPool().load(GEOMETRY, "map-anything", ModelContext(tmp_path, "cpu"))
    assert (estimator.record.licence, estimator.record.non_commercial) == ("apache-2.0", False)
    side = TINY.grid * TINY.patch
    pictures = [each.permute(1, 2, 0).numpy() for each in tiny_pictures(2, 42, side)]
    views = estimator.estimate(pictures)
    with torch.inference_mode():
        answer = tiny_network()(torch.stack([normalised(each, (42, side)) for each in pictures]))
    for number, view in enumerate(views):
        assert view.camera.height == 42 and view.camera.width == side
        depth = answer.rays[number, ..., 2] * answer.distance[number]
        np.testing.assert_allclose(view.depth, depth, atol=1e-6)
        np.testing.assert_allclose(view.confidence, answer.confidence[number], atol=1e-6)
        assert (view.depth > 0).all()
    network = estimator._network  # type: ignore[attr-defined]
    network.dense_head[1].conv2[2].bias = torch.nn.Parameter(torch.tensor([0.1, -0.2, 1.0, 0.7, 0.2, -9.0]))
    assert not any(view.confidence.any() for view in estimator.estimate(pictures))
    with pytest.raises(ValueError, match="all of one size"):
        estimator.estimate([pictures[0], pictures[1][:20]])
    estimator.release()
    with pytest.raises(RuntimeError, match="released"):
        estimator.estimate(pictures)


def test_half_precision_answers_nearly_the_same() -> None:
    network, pictures = tiny_network(), seen(2, 42, 56)
    with torch.inference_mode():
        full, half = network(pictures), network(pictures, torch.bfloat16)
    assert half.turns.dtype == half.distance.dtype == torch.float32
    assert not torch.equal(half.distance, full.distance)
    torch.testing.assert_close(half.distance, full.distance, atol=0.2, rtol=0.05)
