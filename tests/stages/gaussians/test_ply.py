"""PLY files and similarity transforms, spherical harmonics included."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import scene_similarity as transforms
from gaussian_scenes import empty_scene, equal_scenes, random_scene, turned_camera
from scene_similarity import transform_scene

from scenewright_stages.vision.gaussians.ply import property_names, read_ply, write_ply
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import HARMONIC_COUNTS, GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera, rigid, rotation_from_quaternion
from scenewright_stages.vision.geometry.point_files import PlyError
from scenewright_stages.vision.imaging.metrics import psnr

INRIA_DEGREE_3 = (
    "x y z nx ny nz f_dc_0 f_dc_1 f_dc_2 "
    + " ".join(f"f_rest_{k}" for k in range(45))
    + " opacity scale_0 scale_1 scale_2 rot_0 rot_1 rot_2 rot_3"
).split()
TURN = rotation_from_quaternion([0.6, -0.3, 0.5, 0.55])


def similarity(scale: float = 1.0) -> np.ndarray:
    matrix = rigid(TURN, [0.4, -1.2, 2.0])
    matrix[:3, :3] *= scale
    return matrix


def moved_camera(camera: Camera, new_from_old: np.ndarray, scale: float) -> Camera:
    """The camera that a similarity carries along."""
    motion = new_from_old.copy()
    motion[:3, :3] /= scale
    pose = camera.world_from_camera.copy()
    pose[:3, :3] = motion[:3, :3] @ pose[:3, :3]
    pose[:3, 3] = new_from_old[:3, :3] @ camera.position + new_from_old[:3, 3]
    return camera.with_pose(np.linalg.inv(pose))


@pytest.mark.parametrize("harmonics", HARMONIC_COUNTS)
def test_a_written_scene_comes_back_bit_by_bit(tmp_path: Path, harmonics: int) -> None:
    scene = random_scene(33, harmonics)
    write_ply(scene, tmp_path / "scene.ply")
    assert equal_scenes(read_ply(tmp_path / "scene.ply"), scene)


def test_the_header_and_the_channel_order_are_the_common_ones(tmp_path: Path) -> None:
    scene = random_scene(2, 16)
    write_ply(scene, tmp_path / "scene.ply")
    raw = (tmp_path / "scene.ply").read_bytes()
    header, _, body = raw.partition(b"end_header\n")
    assert re.findall(rb"property float (\S+)", header) == [name.encode() for name in INRIA_DEGREE_3]
    assert header.startswith(b"ply\nformat binary_little_endian 1.0\nelement vertex 2\n")
    table = np.frombuffer(body, "<f4").reshape(2, -1)
    first_rest = INRIA_DEGREE_3.index("f_rest_0")
    red_then_green = scene.spherical_harmonics[0, 1:, :2].T.reshape(-1).numpy()
    assert np.array_equal(table[0, first_rest : first_rest + 30], red_then_green)
    assert property_names(1)[6:10] == ["f_dc_0", "f_dc_1", "f_dc_2", "opacity"]


def test_an_empty_scene_can_be_written(tmp_path: Path) -> None:
    write_ply(empty_scene(), tmp_path / "empty.ply")
    assert len(read_ply(tmp_path / "empty.ply")) == 0


def test_comments_other_types_and_another_order_are_read(tmp_path: Path) -> None:
    scene = random_scene(3)
    names = ["rot_0", *(n for n in property_names(1) if n not in ("nx", "ny", "nz", "rot_0")), "label"]
    columns = {
        "x y z": scene.means,
        "f_dc_0 f_dc_1 f_dc_2": scene.spherical_harmonics[:, 0],
        "opacity": scene.opacity_logits[:, None],
        "scale_0 scale_1 scale_2": scene.log_scales,
        "rot_0 rot_1 rot_2 rot_3": scene.quaternions,
    }
    dtype = np.dtype([(n, "u1" if n == "label" else "<f8") for n in names])
    table = np.zeros(3, dtype)
    for group, values in columns.items():
        for k, name in enumerate(group.split()):
            table[name] = values[:, k].numpy()
    kinds = "".join(f"property {'uchar' if n == 'label' else 'double'} {n}\n" for n in names)
    header = f"ply\nformat binary_little_endian 1.0\ncomment hi\nelement vertex 3\n{kinds}end_header\n"
    (tmp_path / "other.ply").write_bytes(header.encode() + table.tobytes())
    assert equal_scenes(read_ply(tmp_path / "other.ply"), scene)


def test_files_that_are_no_scene_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scene.ply"
    write_ply(random_scene(4), path)
    good = path.read_bytes()
    damage = {
        "ends after": good[:-1],
        "no PLY header": good[:40],
        "lacks the properties": good.replace(b"property float opacity\n", b"property float opaqueness\n"),
        "not a binary little-endian": good.replace(b"binary_little_endian", b"ascii"),
        "f_rest": good.replace(b"float nx", b"float f_rest_0"),
        "names a property twice": good.replace(b"float nx", b"float ny"),
        "not a number": good.replace(b"property float nx", b"property list uchar int nx"),
    }
    for message, content in damage.items():
        path.write_bytes(content)
        with pytest.raises(PlyError, match=message):
            read_ply(path)


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize("harmonics", HARMONIC_COUNTS)
def test_a_moved_scene_looks_the_same_from_the_moved_camera(harmonics: int, scale: float) -> None:
    scene, camera = random_scene(200, harmonics), turned_camera(64, 48)
    matrix = similarity(scale)
    renderer, moved = renderer_for("cpu"), transform_scene(scene, matrix)
    before = renderer.render(scene, [camera])
    after = renderer.render(moved, [moved_camera(camera, matrix, scale)])
    assert psnr(after.rgb, before.rgb) >= 50
    assert (after.depth - before.depth * scale).abs().median() < 1e-4 * scale
    if harmonics > 1:
        unturned = GaussianScene(**(moved.tensors | {"spherical_harmonics": scene.spherical_harmonics}))
        forgotten = renderer.render(unturned, [moved_camera(camera, matrix, scale)])
        assert psnr(forgotten.rgb, before.rgb) < 30


@pytest.mark.parametrize("harmonics", HARMONIC_COUNTS)
def test_rotated_coefficients_give_the_same_colour_along_the_rotated_direction(harmonics: int) -> None:
    random = np.random.default_rng(0)
    coefficients, directions = random.normal(size=(5, harmonics, 3)), random.normal(size=(20, 3))
    rotated = transforms.rotated(coefficients, TURN)
    before = np.einsum("mk,nkc->nmc", transforms.basis(directions, harmonics), coefficients)
    after = np.einsum("mk,nkc->nmc", transforms.basis(directions @ TURN.T, harmonics), rotated)
    assert np.abs(after - before).max() < 1e-12


def test_bands_keep_their_energy_and_rotations_compose() -> None:
    once = transforms.band_rotations(TURN, 16)
    twice = transforms.band_rotations(TURN @ TURN, 16)
    for one, two in zip(once, twice, strict=True):
        assert np.abs(one @ one.T - np.eye(len(one))).max() < 1e-12
        assert np.abs(one @ one - two).max() < 1e-12


def test_matrices_that_are_no_similarity_are_refused() -> None:
    scene = random_scene(2)
    for matrix in (np.diag([1.0, 2.0, 1.0, 1.0]), np.diag([-1.0, 1.0, 1.0, 1.0]), np.full((4, 4), np.nan)):
        with pytest.raises(ValueError):
            transform_scene(scene, matrix)
