"""Rooms whose surfaces are known exactly, as Gaussian scenes, and distances of points from those surfaces."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from synthetic import World, box_room, cameras_inside, cylinder_room, render
from synthetic.shapes import Box, InteriorBox, InteriorCylinder, Sphere

from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera

ROOMS = tuple((make, seed) for make in (box_room, cylinder_room) for seed in (0, 1, 2))
"""Six rooms with boxes and spheres in them."""


@dataclass(frozen=True, eq=False)
class KnownRoom:
    """A room, the Gaussians of its surfaces, and cameras that flew through it."""

    world: World
    scene: GaussianScene
    cameras: list[Camera]


def known_room(number: int, views: int = 16, width: int = 128, height: int = 96) -> KnownRoom:
    """One of `ROOMS`, with a Gaussian for each pixel of its views."""
    make, seed = ROOMS[number]
    world = make(seed)
    cameras = cameras_inside(world, views, width, height, horizontal_degrees=95.0, seed=seed)
    parts = []
    for camera in cameras:
        view = render(world, camera, supersampling=1)
        found = GaussianScene.from_rgbd(view.srgb, view.depth, camera, opacity=0.95)
        parts.append(_flat(found, view.normal.reshape(-1, 3)))
    return KnownRoom(world, GaussianScene.concatenate(parts), cameras)


def _flat(scene: GaussianScene, normals: NDArray[np.float32]) -> GaussianScene:
    """The Gaussians as discs on their surface, as training makes them."""
    turn = np.zeros((len(normals), 4), np.float32)
    # The rotation that turns z into the normal.
    turn[:, 0], turn[:, 1], turn[:, 2] = 1 + normals[:, 2], -normals[:, 1], normals[:, 0]
    turn[normals[:, 2] < -0.999] = (0, 1, 0, 0)
    thin = scene.log_scales.clone()
    thin[:, 2] -= np.log(5)
    quaternions = torch.nn.functional.normalize(torch.from_numpy(turn), dim=1)
    return replace(scene, log_scales=thin, quaternions=quaternions)


def distances(world: World, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) signed metres from the nearest surface; positive in free space, negative in a wall or an object."""
    return np.min([_distance(body.shape, points) for body in world.bodies], axis=0)


def _distance(shape: object, points: NDArray[np.float64]) -> NDArray[np.float64]:
    if isinstance(shape, InteriorBox):
        return -_box(points, np.array(shape.half_size))
    if isinstance(shape, InteriorCylinder):
        wall = shape.radius - np.hypot(points[:, 0], points[:, 2])
        return np.minimum(wall, shape.half_height - np.abs(points[:, 1]))
    if isinstance(shape, Sphere):
        return np.linalg.norm(points - np.array(shape.center), axis=1) - shape.radius
    assert isinstance(shape, Box)
    return _box((points - np.array(shape.center)) @ shape._local_from_world().T, np.array(shape.half_size))


def _box(points: NDArray[np.float64], half: NDArray[np.float64]) -> NDArray[np.float64]:
    beyond = np.abs(points) - half
    outside = np.linalg.norm(np.maximum(beyond, 0), axis=1)
    return np.asarray(outside + np.minimum(beyond.max(axis=1), 0))
