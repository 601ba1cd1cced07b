"""VGGT: the published sizes and names, the published network's numbers, refused files, and cameras from its answer."""

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
from tiny_vggt import LICENCES, TINY, save_tiny_checkpoint, save_tiny_vggt, tiny_network, tiny_pictures

from scenewright_stages.backends.geometry.facts import COMMERCIAL
from scenewright_stages.backends.geometry.interface import GEOMETRY, GeometryEstimator
from scenewright_stages.backends.geometry.vggt.checkpoint import CHECKPOINT, load_network
from scenewright_stages.backends.geometry.vggt.engine import cameras_of
from scenewright_stages.backends.geometry.vggt.network import VggtNetwork, expected_shapes
from scenewright_stages.backends.geometry.vggt.transformer import TrunkShape, whole_patches
from scenewright_stages.backends.runtime.checkpoints import SHAPE
from scenewright_stages.backends.runtime.errors import BackendContractError, BrokenWeights, LicenceNotAccepted
from scenewright_stages.backends.runtime.loading import ModelContext, ModelPool
from scenewright_stages.vision.geometry.points import project, unproject

PUBLISHED_TENSORS = 1797
PUBLISHED_PARAMETERS = 1_256_537_516
PUBLISHED_DIGEST = "7db43ba7e2e0d37113f4ae2223b57d53128f16177f8a7b1833fc7298198e7bb2"
"""SHA-256 of the published names and shapes, sorted, one a line."""
BIAS = "camera_head.pose_branch.fc2.bias"
GOLDEN_POSES = [
    [0.4598746, -0.9307292, 0.9872985, 0.6673748, -0.4130421, -0.5276617, 8.5915270, 1.9275736, 0.8976709],
    [0.6573412, -0.9659677, 0.8017515, 0.7653757, -0.2606444, -0.6772118, 8.4897156, 2.1115620, 0.9372475],
    [0.6573614, -0.9659162, 0.8017138, 0.7653369, -0.2605936, -0.6771902, 8.4896564, 2.1115599, 0.9373061],
]
GOLDEN_DEPTH = [
    [[0.9782575, 0.9710021, 0.9725919], [0.9911565, 0.9895098, 0.9893831], [0.9972212, 0.9916034, 0.9869968]],
    [[0.9782101, 0.9711766, 0.9727038], [0.9911708, 0.9895086, 0.9893790], [0.9972388, 0.9916183, 0.9870043]],
    [[0.9782104, 0.9711784, 0.9727113], [0.9911700, 0.9895031, 0.9893813], [0.9972393, 0.9916204, 0.9870161]],
]
GOLDEN_CONFIDENCE = [
    [[1.8080117, 1.8088140, 1.8038707], [1.7915057, 1.7921690, 1.7919859], [1.7955651, 1.7968215, 1.7941225]],
    [[1.8078814, 1.8085127, 1.8036991], [1.7915120, 1.7921407, 1.7919909], [1.7955685, 1.7968568, 1.7941363]],
    [[1.8078821, 1.8085073, 1.8036919], [1.7915119, 1.7921495, 1.7919891], [1.7955680, 1.7968550, 1.7941475]],
]
"""Of the published program's own network with the same parameters and pictures of 42 x 70."""


def test_the_network_has_exactly_the_published_tensors() -> None:
    with torch.device("meta"):
        shapes = expected_shapes(VggtNetwork())
    assert len(shapes) == PUBLISHED_TENSORS
    assert sum(math.prod(shape) for shape in shapes.values()) == PUBLISHED_PARAMETERS
    assert shapes["aggregator.global_blocks.23.attn.q_norm.weight"] == (64,)
    assert shapes["camera_head.poseLN_modulation.1.weight"] == (6144, 2048)
    lines = sorted(f"{name} {list(shape)}" for name, shape in shapes.items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == PUBLISHED_DIGEST


def test_it_answers_what_the_published_network_answers() -> None:
    with torch.inference_mode():
        answer = tiny_network()(tiny_pictures(3, 42, 70))
    for found, golden in (
        (answer.poses, GOLDEN_POSES),
        (answer.depth[:, ::20, ::34], GOLDEN_DEPTH),
        (answer.confidence[:, ::20, ::34], GOLDEN_CONFIDENCE),
    ):
        torch.testing.assert_close(found, torch.tensor(golden), atol=2e-5, rtol=2e-5)


def test_pictures_see_each_other_and_the_first_one_is_special() -> None:
    network, pictures = tiny_network(), tiny_pictures(3, 56, 56)
    with torch.inference_mode():
        whole, alone = network(pictures), network(pictures[:1])
        swapped = network(pictures[[0, 2, 1]])
    assert (whole.poses[0] - alone.poses[0]).abs().max() > 1e-6
    torch.testing.assert_close(swapped.poses[[0, 2, 1]], whole.poses, atol=1e-5, rtol=1e-5)
    assert (whole.poses[0] - whole.poses[1]).abs().max() > 0.01


def test_a_checkpoint_in_the_published_format_loads(tmp_path: Path) -> None:
    network, pictures = save_tiny_checkpoint(tmp_path), tiny_pictures(2, 28, 42)
    loaded = load_network(tmp_path, COMMERCIAL.id)
    assert torch.equal(loaded(pictures).poses, network(pictures).poses)
    assert not any(name.startswith("track_head") for name in loaded.state_dict())


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (BIAS, "rename", f"it lacks {BIAS}; renamed.bias is not a tensor of VGGT"),
        (BIAS, "shape", f"{BIAS} has the shape (5,), not (9,)"),
        (BIAS, "missing", f"it lacks {BIAS}"),
        ("track_head.tracker.vis_predictor.0.bias", "shape", "has the shape (5,), not (1,)"),
    ],
)
def test_a_wrong_name_or_shape_is_refused(tmp_path: Path, name: str, change: str, said: str) -> None:
    save_tiny_checkpoint(tmp_path)
    tensors = load_file(tmp_path / CHECKPOINT)
    value = tensors.pop(name)
    changed = {"rename": {"renamed.bias": value}, "shape": {name: torch.zeros(5)}, "missing": {}}[change]
    save_file({**tensors, **changed}, tmp_path / CHECKPOINT)
    with pytest.raises(BrokenWeights, match=re.escape(said)):
        load_network(tmp_path, COMMERCIAL.id)


def test_files_that_hold_no_network_are_refused(tmp_path: Path) -> None:
    save_tiny_checkpoint(tmp_path)
    (tmp_path / SHAPE).write_text("{}")
    with pytest.raises(BrokenWeights, match="does not describe"):
        load_network(tmp_path, COMMERCIAL.id)
    (tmp_path / SHAPE).unlink()
    with pytest.raises(BrokenWeights, match="more"):
        load_network(tmp_path, COMMERCIAL.id)
    (tmp_path / CHECKPOINT).write_bytes(b"<html>")
    with pytest.raises(BrokenWeights, match="cannot be read"):
        load_network(tmp_path, COMMERCIAL.id)


def test_cameras_are_those_that_were_encoded() -> None:
    """An oracle writes the nine numbers of random cameras, with quaternions of any length and sign."""
    draws = np.random.default_rng(0)
    for _ in range(50):
        turn, place = Rotation.random(rng=draws), draws.normal(size=3)
        vertical, horizontal = draws.uniform(0.3, 2.5, 2)
        pose = [*place, *(turn.as_quat() * draws.uniform(0.5, 2) * draws.choice([-1, 1])), vertical, horizontal]
        (camera,) = cameras_of(np.array([pose]), 70, 42)
        np.testing.assert_allclose(camera.camera_from_world[:3, :3], turn.as_matrix(), atol=1e-9)
        np.testing.assert_allclose(camera.camera_from_world[:3, 3], place, atol=1e-12)
        np.testing.assert_allclose(np.radians(camera.field_of_view), (horizontal, vertical), atol=1e-9)
        # The corner of the picture is seen at half the fields of view.
        corner = turn.inv().apply([np.tan(horizontal / 2), np.tan(vertical / 2), 1.0] - place)
        np.testing.assert_allclose(project(corner[None], camera)[0], [[70, 42]], atol=1e-6)
        depth = draws.uniform(1, 3, (42, 70)).astype(np.float32)
        pixels, found = project(unproject(depth, camera).reshape(-1, 3), camera)
        np.testing.assert_allclose(found.reshape(42, 70), depth, rtol=1e-6)
        np.testing.assert_allclose(pixels[0], (0.5, 0.5), atol=1e-6)


@pytest.mark.parametrize("bad", [{3: 0, 4: 0, 5: 0, 6: 0}, {7: 0.0}, {8: 3.2}, {0: np.nan}])
def test_a_camera_that_cannot_be_is_refused(bad: dict[int, float]) -> None:
    pose = np.array([[0, 0, 0, 0, 0, 0, 1, 1.0, 1.0]])
    for place, value in bad.items():
        pose[0, place] = value
    with pytest.raises(BackendContractError, match="cannot be"):
        cameras_of(pose, 70, 42)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((576, 576), (518, 518)), ((300, 400), (392, 518)), ((400, 300), (518, 392)), ((4, 400), (14, 518))],
)
def test_pictures_are_fitted_to_whole_patches(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert whole_patches(*size, TrunkShape()) == expected


def test_the_backend_estimates_under_its_licence(tmp_path: Path) -> None:
    cache = save_tiny_vggt(tmp_path)
    with pytest.raises(LicenceNotAccepted, match="vggt-aup-license"):
        ModelPool().load(GEOMETRY, "vggt", ModelContext(cache, "cpu"))
    estimator: GeometryEstimator = ModelPool().load(GEOMETRY, "vggt", ModelContext(cache, "cpu", LICENCES))
    pictures = [each.permute(1, 2, 0).numpy() for each in tiny_pictures(2, 40, 60)]
    views = estimator.estimate(pictures)
    side = TINY.trunk.grid * TINY.trunk.patch
    assert [(each.camera.height, each.camera.width) for each in views] == [(42, side), (42, side)]
    assert all(each.depth.shape == each.confidence.shape == (42, side) for each in views)
    assert all((each.depth > 0).all() and (each.confidence >= 1).all() for each in views)
    fitting = tiny_pictures(2, 42, side)
    with torch.inference_mode():
        answer = tiny_network()(fitting)
    for view, poses, depth in zip(
        estimator.estimate([each.permute(1, 2, 0).numpy() for each in fitting]),
        cameras_of(answer.poses.double().numpy(), side, 42),
        answer.depth.numpy(),
        strict=True,
    ):
        np.testing.assert_allclose(view.camera.camera_from_world, poses.camera_from_world, atol=1e-6)
        np.testing.assert_allclose(view.depth, depth, atol=1e-6)
    with pytest.raises(ValueError, match="all of one size"):
        estimator.estimate([pictures[0], pictures[1][:20]])


def test_half_precision_answers_nearly_the_same() -> None:
    network, pictures = tiny_network(), tiny_pictures(2, 42, 56)
    with torch.inference_mode():
        full, half = network(pictures), network(pictures, torch.bfloat16)
    assert half.poses.dtype == half.depth.dtype == torch.float32
    assert not torch.equal(half.poses, full.poses)
    torch.testing.assert_close(half.poses, full.poses, atol=0.15, rtol=0.05)
    torch.testing.assert_close(half.depth, full.depth, atol=0.02, rtol=0.02)
