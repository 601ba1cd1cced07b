"""Depth maps as geometry, against the synthetic world's exact answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from synthetic import box_room, cameras_inside, render, trace_depth, visible_in
from warping import forward_warp

from scenewright_stages.vision.geometry.cameras import Camera, rigid
from scenewright_stages.vision.geometry.points import (
    depth_edges,
    inside_picture,
    moved_behind,
    occludes,
    pixel_centres,
    project,
    sample_nearest,
    snap_edge_depth,
    unproject,
    valid_depth,
)

INVALID = (np.nan, np.inf, -np.inf, 0.0, -1.0)


def two_walls(height: int = 40, width: int = 60, edge: int = 30) -> Any:
    """A wall at 2 m on the left of column edge, one at 5 m on the right."""
    depth = np.full((height, width), 5.0, np.float32)
    depth[:, :edge] = 2.0
    return depth


def psnr(first: Any, second: Any, where: Any) -> float:
    return float(-10 * np.log10(np.mean((first - second)[where] ** 2)))


def test_what_is_not_finite_and_positive_is_no_depth() -> None:
    depth = np.array([[1.0, *INVALID]])
    np.testing.assert_array_equal(valid_depth(depth), [[True, False, False, False, False, False]])
    points = unproject(depth, Camera.from_field_of_view(6, 1, 60))
    assert np.isfinite(points[0, 0]).all() and np.isnan(points[0, 1:]).all()


def test_lifting_and_projecting_are_inverse_to_a_millionth_of_a_pixel() -> None:
    world = box_room(0)
    camera = cameras_inside(world, 5, 64, 48)[3]
    depth = trace_depth(world, camera)
    points = unproject(depth, camera)
    pixels, distance = project(points, camera)
    assert np.abs(pixels - pixel_centres(64, 48)).max() < 1e-6
    assert np.abs(distance - depth).max() < 1e-9
    half_pixel_off = project(points, camera.cropped(0, 0, 64, 48).with_pose(camera.camera_from_world))[0] - 0.5
    assert np.abs(half_pixel_off - pixel_centres(64, 48)).min() > 0.4
    room = np.array(world.half_size)
    assert (np.abs(points) <= room + 1e-9).all()


def test_points_behind_a_camera_have_no_pixel() -> None:
    pixels, depth = project(np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 2.0]]), Camera.from_field_of_view(8, 8, 60))
    assert np.isnan(pixels[0]).all() and np.isfinite(pixels[1]).all() and depth[0] == -1


def test_only_points_before_a_camera_and_inside_its_picture_are_in_it() -> None:
    camera = Camera.from_field_of_view(8, 6, 60)
    rays = np.array([[0.0, 0.0], [8.0, 3.0], [7.99, 5.99], [-0.01, 3.0], [4.0, 6.0]])
    points = np.concatenate([(rays - camera.principal_point) / camera.focal, np.ones((5, 1))], axis=1)
    assert inside_picture(*project(2 * points, camera), camera).tolist() == [True, False, True, False, False]
    assert not inside_picture(*project(-2 * points, camera), camera).any()


def test_a_camera_is_resized_by_a_factor_and_keeps_a_pixel() -> None:
    camera = Camera.from_field_of_view(80, 6, 60)
    half, tiny = camera.resized(0.5), camera.resized(0.01)
    assert (half.width, half.height) == (40, 3) and np.allclose(half.intrinsics[0], camera.intrinsics[0] / 2)
    assert (tiny.width, tiny.height) == (1, 1)


def test_edges_are_jumps_and_a_steep_floor_is_no_edge() -> None:
    camera = Camera.from_field_of_view(64, 64, 60)
    rows = pixel_centres(64, 64)[..., 1] - 32
    floor = np.where(rows > 0.4, 1.2 * camera.focal[1] / np.maximum(rows, 1e-6), np.nan)
    gradient = np.abs(np.gradient(np.log(floor), axis=0))
    assert np.nanmax(gradient) > 0.2, "a gradient threshold would call this floor an edge"
    assert not depth_edges(floor, 0.01).any()
    edges = depth_edges(two_walls(), 0.01)
    assert edges[:, 29:31].all() and edges.sum() == 2 * 40


def test_edges_of_the_synthetic_room_lie_where_objects_end() -> None:
    world = box_room(1)
    for camera in cameras_inside(world, 4, 96, 96):
        view = render(world, camera, 1)
        # A right-angled crease bends inverse depth by up to 2 / f = 0.03 at this focal length.
        edges = depth_edges(trace_depth(world, camera), 0.06)
        objects = view.instance >= 6
        near_object = np.zeros_like(objects)
        for down in (-2, -1, 0, 1, 2):
            for right in (-2, -1, 0, 1, 2):
                near_object |= np.roll(objects, (down, right), (0, 1))
        assert (edges & near_object).sum() >= 0.98 * edges.sum()
        assert edges.any() or not objects.any()


def test_invalid_pixels_make_no_edges() -> None:
    depth = np.full((20, 20), 3.0)
    depth[5:9, 5:9] = np.nan
    depth[12, 12] = 0
    assert not depth_edges(depth, 0.01).any()


def test_floating_edge_pixels_are_snapped_to_one_of_the_two_surfaces() -> None:
    sharp = two_walls()
    smeared = sharp.copy()
    smeared[:, 28:33] = np.linspace(2, 5, 7)[1:-1]
    snapped = snap_edge_depth(smeared, 0.01)
    floating = (smeared > 2.05) & (smeared < 4.95)
    assert floating.sum() == 5 * 40, "the test needs floating pixels"
    assert np.isin(snapped, (2.0, 5.0)).all()
    assert np.all(np.diff(snapped, axis=1) >= 0), "the order of the surfaces is kept"
    dropped = valid_depth(np.where(depth_edges(smeared, 0.01), np.nan, smeared))
    assert valid_depth(snapped).all() and not dropped.all()


def test_snapping_leaves_sharp_edges_slanted_surfaces_and_holes_alone() -> None:
    np.testing.assert_array_equal(snap_edge_depth(two_walls(), 0.01), two_walls())
    world = box_room(0)
    depth = trace_depth(world, cameras_inside(world, 4, 64, 64)[1]).astype(np.float32)
    depth[10:14, 10:14] = np.nan
    snapped = snap_edge_depth(depth, 0.01)
    np.testing.assert_array_equal(np.isnan(snapped), np.isnan(depth))
    change = np.nanmax(np.abs(snapped / depth - 1)[~depth_edges(depth, 0.01)])
    assert change == 0


def test_a_point_in_front_of_what_is_known_occludes_it_and_one_behind_does_not() -> None:
    camera = Camera.from_field_of_view(32, 32, 60)
    known = np.full((32, 32), 3.0)
    for distance, hides in ((2.0, True), (2.75, True), (2.85, False), (3.0, False), (4.0, False)):
        assert occludes(np.full((32, 32), distance), camera, [(known, camera)]).all() == hides
    # The rule itself: r - d > (d + r) / 30 at r = 3 begins at d = 29/31 * 3 = 2.806.
    assert occludes(np.full((32, 32), 2.80), camera, [(known, camera)]).all()
    assert not occludes(np.full((32, 32), 2.81), camera, [(known, camera)]).any()


def test_nothing_is_occluded_where_a_reference_knows_nothing() -> None:
    camera = Camera.from_field_of_view(32, 32, 60)
    away = camera.with_pose(np.diag([-1.0, 1.0, -1.0, 1.0]))
    depth = np.full((32, 32), 1.0)
    assert not occludes(depth, camera, [(np.full((32, 32), np.nan), camera)]).any()
    assert not occludes(depth, camera, [(np.full((32, 32), 5.0), away)]).any()
    assert not occludes(depth, camera, []).any()
    both = [(np.full((32, 32), np.nan), camera), (np.full((32, 32), 5.0), camera)]
    assert occludes(depth, camera, both).all(), "one of several references suffices"


def test_points_that_hide_something_move_back_along_their_own_rays_as_far_as_needed() -> None:
    camera = Camera.from_field_of_view(60, 40, 60)
    known = two_walls()
    beside = camera.with_pose(rigid(np.eye(3), (-0.2, 0.0, 0.0)))
    depth = np.full((40, 60), 2.0)
    moved = moved_behind(depth, beside, [(known, camera)], 5.0)
    assert occludes(depth, beside, [(known, camera)]).any()
    assert not occludes(moved, beside, [(known, camera)]).any()
    stayed = ~occludes(depth, beside, [(known, camera)])
    np.testing.assert_array_equal(moved[stayed], np.float32(2.0))
    assert ((moved[~stayed] > 2.0) & (moved[~stayed] < 5.0)).all()
    assert (moved_behind(depth, beside, [(known, camera)], 3.0)[~stayed] == 0).any()


def test_nearest_samples_come_from_the_pixel_that_holds_the_point() -> None:
    depth = np.arange(1.0, 13.0).reshape(3, 4)
    points = np.array([[0.01, 0.01], [0.99, 0.99], [3.99, 2.5], [4.0, 1.0], [-0.01, 1.0], [np.nan, 1.0]])
    np.testing.assert_array_equal(sample_nearest(depth, points), [1, 1, 12, np.nan, np.nan, np.nan])


def test_a_warp_to_its_own_camera_is_the_identity() -> None:
    world = box_room(0)
    camera = cameras_inside(world, 4, 48, 48)[0]
    view = render(world, camera, 1)
    warped = forward_warp(view.srgb, trace_depth(world, camera), camera, camera)
    assert warped.covered.all()
    np.testing.assert_allclose(warped.srgb, view.srgb, atol=1e-5)
    np.testing.assert_allclose(warped.depth, view.depth, rtol=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_warp_shows_the_other_view_and_simpler_guesses_do_not(seed: int) -> None:
    world = box_room(seed)
    camera, other = cameras_inside(world, 24, 128, 128)[4:6]
    view, truth = render(world, camera), render(world, other)
    depth = trace_depth(world, camera)
    warped = forward_warp(view.srgb, depth, camera, other)
    seen = visible_in(world, other, camera) & warped.covered
    quality = psnr(warped.srgb, truth.srgb, seen)
    assert quality > 38
    # Surfaces that the other camera sees twice as large get too few samples: a splat, not a mesh.
    assert warped.covered[visible_in(world, other, camera)].mean() > 0.75
    flat = forward_warp(view.srgb, np.full_like(depth, np.median(depth)), camera, other)
    far = forward_warp(view.srgb, depth * 1.15, camera, other)
    assert psnr(view.srgb, truth.srgb, seen) < quality - 15
    assert psnr(flat.srgb, truth.srgb, seen & flat.covered) < quality - 8
    assert psnr(far.srgb, truth.srgb, seen & far.covered) < quality - 5


def test_the_nearer_surface_wins_in_a_warp() -> None:
    camera = Camera.from_field_of_view(60, 40, 60)
    depth = two_walls()
    srgb = np.repeat((depth[..., None] == 2).astype(np.float32), 3, axis=2)
    moved = np.eye(4)
    moved[0, 3] = 0.25  # everything moves right, the near wall farther than the far one
    warped = forward_warp(srgb, depth, camera, camera.with_pose(moved))
    near_edge = 30 + camera.focal[0] * 0.25 / 2
    columns = np.arange(60) + 0.5
    assert (warped.srgb[:, columns < near_edge - 1][warped.covered[:, columns < near_edge - 1]] > 0.99).all()
    assert (warped.srgb[:, columns > near_edge + 1][warped.covered[:, columns > near_edge + 1]] < 0.01).all()
