"""The collider, the floor and the ground truth of rooms whose surfaces are known exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from known_rooms import ROOMS, KnownRoom, distances, known_room
from scipy.spatial import cKDTree
from synthetic import render, trace_depth

from scenewright_stages.exports import FramesParams, MeshParams
from scenewright_stages.scenes.export.frames import drawn, write_frames
from scenewright_stages.scenes.export.source import Y_DOWN, Y_UP, Source
from scenewright_stages.scenes.export.surface import Z_UP, write_surface
from scenewright_stages.vision.gaussians.cpu_renderer import CpuRenderer
from scenewright_stages.vision.gaussians.formats.foreign_ply import read_foreign_ply
from scenewright_stages.vision.gaussians.ply import write_ply
from scenewright_stages.vision.gaussians.surface.fusion import DepthView, facing_of, fused
from scenewright_stages.vision.gaussians.surface.meshes import Mesh, read_mesh_glb, read_stl, triangulated
from scenewright_stages.vision.gaussians.surface.walking import Capsule
from scenewright_stages.vision.geometry.cameras import look_at

MEDIAN, MOST = 0.05, 0.15
"""Metres: half of the surface, and 95 % of it, must be as close to the true one."""


def source_of(room: KnownRoom, folder: Path) -> Source:
    write_ply(room.scene, folder / "room.ply")
    splats = read_foreign_ply(folder / "room.ply")
    return Source(splats, room.cameras, "flight", Y_DOWN, "given", copyright="nobody")


def true_points(room: KnownRoom) -> np.ndarray:
    """Points of the true surface that the flight saw."""
    found = []
    for camera in room.cameras[::4]:
        depth = trace_depth(room.world, camera)
        rows, columns = (each.ravel()[::29] for each in np.indices(depth.shape))
        rays = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], axis=1) @ np.linalg.inv(camera.intrinsics).T
        pose = camera.world_from_camera
        found.append((rays * depth[rows, columns, None]) @ pose[:3, :3].T + pose[:3, 3])
    return np.concatenate(found)


def errors(mesh: Mesh, room: KnownRoom) -> dict[str, float]:
    """How far the mesh is from the true surface, and the true surface from the mesh."""
    points = mesh.samples(0.04)
    near, away = np.abs(distances(room.world, points)), cKDTree(points).query(true_points(room))[0]
    return {
        "median": float(np.median(near)),
        "most": float(np.percentile(near, 95)),
        "median_missing": float(np.median(away)),
        "most_missing": float(np.percentile(away, 95)),
    }


def check(found: dict[str, float]) -> bool:
    return max(found["median"], found["median_missing"]) <= MEDIAN and max(found["most"], found["most_missing"]) <= MOST


@pytest.fixture(scope="module")
def room() -> KnownRoom:
    return known_room(3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("surface")


@pytest.fixture(scope="module")
def metrics(room: KnownRoom, folder: Path) -> dict[str, object]:
    params = MeshParams(views=36, triangles=30_000)
    return dict(write_surface(source_of(room, folder), params, folder, CpuRenderer()).metrics["mesh"])


@pytest.fixture(scope="module")
def mesh(metrics: dict[str, object], folder: Path) -> Mesh:
    return read_mesh_glb(folder / "collider.glb")


def test_the_surface_of_a_room_is_where_it_is(room: KnownRoom, mesh: Mesh) -> None:
    assert len(mesh.faces) <= 30_000
    found = errors(mesh.turned(Y_UP.T), room)
    assert check(found), found
    assert not check(errors(mesh, room)), "the frame of the file must be its own"


def test_depth_of_one_view_is_no_surface_of_a_room(room: KnownRoom) -> None:
    camera = room.cameras[0]
    depth = trace_depth(room.world, camera).astype(np.float32)
    view = DepthView(camera, depth, np.zeros((*depth.shape, 3), np.float32), facing_of(depth, camera))
    assert not check(errors(triangulated(fused([view], None), 200_000), room))


def test_the_front_of_every_triangle_faces_free_space(room: KnownRoom, mesh: Mesh) -> None:
    centres = mesh.vertices[mesh.faces].mean(axis=1)
    before, behind = (distances(room.world, (centres + step * mesh.normals) @ Y_UP) for step in (0.1, -0.1))
    assert (before > behind).mean() > 0.98


def test_a_capsule_walks_ten_thousand_steps_and_passes_no_wall(
    room: KnownRoom, mesh: Mesh, metrics: dict[str, object]
) -> None:
    walk = metrics["capsule"]
    assert isinstance(walk, dict) and walk["steps"] == 10_000 and walk["outside"] == 0 and walk["stopped"] > 100
    assert 2.0 < float(str(metrics["walkable_square_metres"])) < 23.0
    floor = -room.world.half_size[1]
    places, _ = Capsule(mesh, 0.2, 1.6).walk(np.array([0.0, floor, 0.0]), 10_000, seed=5)
    reach = np.hypot(places[:, 0], places[:, 2])
    assert reach.max() < room.world.half_size[0]
    assert reach.max() > 0.6 * room.world.half_size[0]
    # Without the wall it walks away.
    ground = mesh.vertices[mesh.faces].max(axis=1)[:, 1] < floor + 0.2
    open_room = Mesh(mesh.vertices, mesh.faces[ground], mesh.srgb)
    loose, _ = Capsule(open_room, 0.2, 1.6).walk(np.array([0.0, floor, 0.0]), 10_000, seed=5)
    assert np.hypot(loose[:, 0], loose[:, 2]).max() > 2 * room.world.half_size[0]


def test_the_stl_holds_the_same_triangles_with_z_up(mesh: Mesh, folder: Path) -> None:
    corners = read_stl(folder / "collider.stl")
    turned = mesh.turned(Z_UP)
    assert np.allclose(corners, turned.vertices[turned.faces], atol=1e-4)
    assert (folder / "walkable.json").is_file()


def test_depth_and_normals_of_frames_are_those_of_the_room(room: KnownRoom) -> None:
    depths, angles = [], []
    for camera in room.cameras[::4]:
        target = camera.position + 3 * camera.world_from_camera[:3, 2]
        moved = camera.scaled(160, 120).with_pose(look_at(camera.position + np.array([0.15, 0.1, -0.1]), target))
        (frame,) = drawn(room.scene, [moved], CpuRenderer())
        truth = render(room.world, moved, supersampling=1)
        seen = frame.depth > 0
        assert seen.mean() > 0.97
        depths.append((np.abs(frame.depth - truth.depth) / truth.depth)[seen])
        true_normals = truth.normal @ moved.camera_from_world[:3, :3].T
        known = seen & (np.linalg.norm(frame.normal, axis=-1) > 0.5)
        cosine = (true_normals * frame.normal).sum(axis=-1)[known]
        angles.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    assert np.median(np.concatenate(depths)) <= 0.01
    assert np.median(np.concatenate(angles)) <= 5


@pytest.mark.parametrize("layout", ["nerfstudio", "colmap", "kitti"])
def test_frames_are_laid_out_as_their_loaders_read_them(room: KnownRoom, layout: str, tmp_path: Path) -> None:
    params = FramesParams.model_validate({"layout": layout, "count": 3, "width": 32})
    written = write_frames(source_of(room, tmp_path), params, tmp_path, CpuRenderer())
    root = written.outputs["frames"]
    poses = READERS[layout](root)
    expected = [room.cameras[number].world_from_camera for number in (0, 8, 15)]
    assert np.allclose(poses, expected, atol=1e-6)
    assert len(list(root.glob("depth_metres/*.npy"))) == 3


def test_frames_come_in_shards(room: KnownRoom, tmp_path: Path) -> None:
    params = FramesParams(count=3, width=32, shard=2)
    root = write_frames(source_of(room, tmp_path), params, tmp_path, CpuRenderer()).outputs["frames"]
    assert sorted(path.name for path in root.glob("*.tar")) == ["frames-00000.tar", "frames-00001.tar"]


def read_nerfstudio(root: Path) -> list[np.ndarray]:
    import json

    frames = json.loads((root / "transforms.json").read_text())["frames"]
    assert all((root / frame["file_path"]).is_file() for frame in frames)
    return [np.array(frame["transform_matrix"]) @ np.diag([1, -1, -1, 1]) for frame in frames]


def read_colmap(root: Path) -> list[np.ndarray]:
    import pycolmap

    model = pycolmap.Reconstruction(str(root / "sparse/0"))
    found = []
    for number in sorted(model.images):
        image = model.images[number]
        assert (root / "images" / image.name).is_file()
        pose = np.eye(4)
        pose[:3] = image.cam_from_world().inverse().matrix()
        found.append(pose)
    return found


def read_kitti(root: Path) -> list[np.ndarray]:
    import json

    first = np.array(json.loads((root / "first_camera.json").read_text())["world_from_first_camera"])
    rows = np.loadtxt(root / "poses.txt").reshape(-1, 3, 4)
    assert len(list((root / "image_2").iterdir())) == len(list((root / "depth_2").iterdir())) == len(rows)
    return [first @ np.vstack([row, [0, 0, 0, 1]]) for row in rows]


READERS = {"nerfstudio": read_nerfstudio, "colmap": read_colmap, "kitti": read_kitti}


@pytest.mark.proof
@pytest.mark.parametrize("number", range(len(ROOMS)))
def test_six_rooms_have_colliders(number: int, tmp_path: Path) -> None:
    room = known_room(number)
    metrics = write_surface(source_of(room, tmp_path), MeshParams(), tmp_path, CpuRenderer()).metrics["mesh"]
    found = errors(read_mesh_glb(tmp_path / "collider.glb").turned(Y_UP.T), room)
    print(number, found, metrics)
    assert check(found) and metrics["triangles"] <= 200_000 and metrics["capsule"]["outside"] == 0
