"""Panoramas: cutting views, putting them together, the layout of rooms, and what a moved camera sees of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from synthetic import render
from view_depth import cut_depth
from world_panoramas import room, room_panorama

from scenewright_stages.vision.geometry.cameras import Camera, rigid
from scenewright_stages.vision.imaging.metrics import psnr
from scenewright_stages.vision.places.worlds.layout import distances, find_walls, looks_like_sky
from scenewright_stages.vision.places.worlds.mesh import Surface, look
from scenewright_stages.vision.places.worlds.motions import turned, view_camera
from scenewright_stages.vision.places.worlds.panorama import cut_view, directions, rays_of, sample, stitch

HEIGHT = 256


def smooth_panorama() -> NDArray[np.float32]:
    """A panorama without detail finer than its pixels."""
    rays = directions(HEIGHT)
    return (0.5 + 0.4 * np.stack([np.sin(3 * rays[..., 0]), rays[..., 1], np.cos(2 * rays[..., 2])], -1)).astype(
        np.float32
    )


def test_directions_are_where_pixels_are_sampled() -> None:
    values = np.random.default_rng(0).random((32, 64, 3)).astype(np.float32)
    np.testing.assert_allclose(sample(values, directions(32)), values, atol=1e-3)


def test_sampling_closes_the_seam() -> None:
    columns = np.zeros((16, 32, 1), np.float32)
    columns[:, -1] = 1.0
    behind = np.array([0.0, 0.0, -1.0])
    assert sample(columns, behind[None])[0, 0] == pytest.approx(0.5, abs=1e-3)


def test_eight_views_put_together_give_the_panorama_back() -> None:
    panorama = smooth_panorama()
    cameras = [view_camera(view, 256) for view in range(8)]
    found = stitch([cut_view(panorama, camera) for camera in cameras], cameras, HEIGHT)
    middle = slice(int(HEIGHT * 0.36), int(HEIGHT * 0.64))
    assert found.known[middle].all()
    assert not found.known[:20].any()
    assert np.abs(found.srgb - panorama)[found.known].max() < 0.01


def visible(camera: Camera, others: list[Camera]) -> NDArray[np.bool_]:
    """(H, W) bool: pixels whose ray lies inside the picture of another camera at the same point."""
    seen = np.zeros((camera.height, camera.width), np.bool_)
    for other in others:
        rays = rays_of(camera) @ other.camera_from_world[:3, :3].T
        with np.errstate(divide="ignore", invalid="ignore"):
            flat = np.abs(rays[..., :2] / rays[..., 2:]) < np.tan(np.radians(other.field_of_view[0] / 2))
        seen |= (rays[..., 2] > 0) & flat.all(axis=-1)
    return seen


@pytest.mark.parametrize("name", ["box", "cylinder"])
@pytest.mark.slow
def test_hidden_views_are_warped_from_their_neighbours_and_holes_are_known(name: str) -> None:
    """Views 0, 2, 4 and 6 in the places of 1, 3, 5 and 7: what overlaps is right, what nobody sees is a hole."""
    cameras = [view_camera(view, 192) for view in range(8)]
    views = [render(room(name, 0), camera, 2).srgb for camera in cameras]
    found = stitch(views[::2], cameras[::2], 576)
    known = np.repeat(found.known[..., None], 3, axis=2).astype(np.float32)
    for view in (1, 3, 5, 7):
        overlap = cut_view(known, cameras[view])[..., 0] > 0.5
        true = visible(cameras[view], cameras[::2])
        union = float((~overlap & ~true).sum() / (~overlap | ~true).sum())
        inner = overlap & true
        warped, copied = (
            float(-10 * np.log10(np.mean((picture - views[view])[inner] ** 2)))
            for picture in (cut_view(found.srgb, cameras[view]), views[view - 1])
        )
        print(f"{name} {view}: overlap {inner.mean():.3f} at {warped:.1f} dB (a copy {copied:.1f}), IoU {union:.3f}")
        assert 0.2 < inner.mean() < 0.6
        assert warped >= 30 > copied
        assert union >= 0.95


def test_distances_survive_the_way_over_views() -> None:
    exact = room_panorama("box", 0).distance
    assert exact is not None
    cameras = [view_camera(view, 256) for view in range(8)]
    depths = [cut_depth(exact, camera) for camera in cameras]
    blank = [np.zeros((256, 256, 3), np.float32)] * 8
    found = stitch(blank, cameras, HEIGHT, depths)
    assert found.distance is not None
    error = np.abs(np.log(found.distance[found.known] / exact[found.known]))
    assert np.median(error) < 0.005
    assert np.percentile(error, 95) < 0.05


@pytest.mark.parametrize(("name", "seed"), [("box", 0), ("cylinder", 0)])
def test_a_guessed_room_beats_a_sphere_by_3_db(name: str, seed: int) -> None:
    """Moved by 0.3 and 0.6 m; the sphere has the room's own median distance, which it could not know."""
    exact = room_panorama(name, seed)
    assert exact.distance is not None
    world = room(name, seed)
    walls = find_walls(exact.srgb, ceiling=True)
    layout = distances(walls, HEIGHT, world.half_size[1], 30.0)
    sphere = np.full_like(layout, np.median(exact.distance))
    for moved in (0.3, 0.6):
        guessed, plain, true = (
            _mean_psnr(name, seed, exact.srgb, distance, moved) for distance in (layout, sphere, exact.distance)
        )
        print(f"{name} {seed} moved {moved} m: layout {guessed:.1f}, sphere {plain:.1f}, exact depth {true:.1f} dB")
        assert guessed >= plain + 3.0
        assert true >= 28.0


def _mean_psnr(name: str, seed: int, srgb: NDArray[np.float32], distance: NDArray[np.float32], moved: float) -> float:
    surface = Surface.of_panorama(srgb, distance)
    found = []
    for yaw in (20.0, 140.0, 260.0):
        direction = turned(yaw + 70.0, 0.0)[:, 2] * moved
        camera = Camera.from_field_of_view(128, 128, 60.0, rigid(turned(yaw, 0.0).T, -turned(yaw, 0.0).T @ direction))
        truth = render(room(name, seed), camera, 2).srgb
        seen = look([surface], camera)
        mask = torch.from_numpy(~seen.hole)
        found.append(float(psnr(torch.from_numpy(seen.srgb), torch.from_numpy(truth), mask)))
    return float(np.mean(found))


def test_the_layout_turns_with_the_panorama() -> None:
    srgb = room_panorama("box", 1).srgb
    shift = 128
    plain, turned_round = (
        distances(find_walls(each, ceiling=True), HEIGHT, 1.3, 30.0) for each in (srgb, np.roll(srgb, shift, axis=1))
    )
    error = np.abs(np.log(np.roll(plain, shift, axis=1) / turned_round))
    assert np.percentile(error, 95) < 0.02


def test_sky_is_distinguished_from_a_ceiling() -> None:
    assert not looks_like_sky(room_panorama("box", 0).srgb)
    blue = np.full((64, 128, 3), (0.4, 0.6, 0.9), np.float32)
    assert looks_like_sky(blue)
