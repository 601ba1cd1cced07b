"""The nearest photograph on a plane: exact where the world is one, and nothing where there are no points."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from synthetic import World, box_room, render
from synthetic.rendering import SyntheticView

from scenewright_stages.reconstruct.baseline import against_nearest_photograph, fitted_plane
from scenewright_stages.reconstruct.views import Roles
from scenewright_stages.vision.geometry.cameras import Camera, look_at
from scenewright_stages.vision.geometry.points import unproject
from scenewright_stages.vision.places.captures.pictures import Photograph, PosedPhotographs

SIZE = (64, 48)
ROLES = Roles(train=(0, 1), gate=(2,), held_out=(3,))


def wall(world: World) -> list[SyntheticView]:
    """Views that show nothing but one wall of the room."""
    end = world.half_size[2]
    places = [np.array([0.1 * number - 0.2, -0.9, end - 0.8]) for number in range(4)]
    cameras = [
        Camera.from_field_of_view(*SIZE, 40.0, look_at(place, place + np.array([0.0, 0.0, 1.0]))) for place in places
    ]
    return [render(world, camera, 2) for camera in cameras]


def photographs_of(views: list[SyntheticView], points: NDArray[np.float64]) -> PosedPhotographs:
    shots = (
        Photograph(str(number), 0, view.camera, np.round(view.srgb * 255).astype(np.uint8))
        for number, view in enumerate(views)
    )
    return PosedPhotographs(tuple(shots), points, np.zeros((len(points), 3), np.uint8))


def test_a_wall_seen_from_beside_is_warped_to_what_it_is() -> None:
    views = wall(box_room(1))
    points = np.concatenate([unproject(view.depth, view.camera).reshape(-1, 3)[::20] for view in views])
    far = np.random.default_rng(0).uniform(-1, 1, (len(points) // 10, 3))
    photographs = photographs_of(views, np.concatenate([points, far]))
    plane = fitted_plane(photographs.points)
    assert plane is not None
    np.testing.assert_allclose(np.abs(plane.normal), (0, 0, 1), atol=1e-3)
    np.testing.assert_allclose(plane.depth(views[0].camera), views[0].depth, rtol=1e-2)
    grey = np.full((*SIZE[::-1], 3), 0.5, np.float32)
    found = against_nearest_photograph(photographs, ROLES, lambda camera: grey)
    values = {name: value for name, value in found.items() if value is not None}
    assert values["psnr_shown"] > 30
    assert values["scene_psnr_shown"] < 20
    assert 0.2 < values["shown"] < 1
    # Where it shows nothing, its mean colour is worse than what it shows.
    assert values["psnr"] < values["psnr_shown"]


def test_without_points_there_is_no_plane() -> None:
    photographs = photographs_of(wall(box_room(1)), np.zeros((50, 3)))
    grey = np.full((*SIZE[::-1], 3), 0.5, np.float32)
    found = against_nearest_photograph(photographs, ROLES, lambda camera: grey)
    assert found == dict.fromkeys(("psnr", "shown", "psnr_shown", "scene_psnr_shown"))
