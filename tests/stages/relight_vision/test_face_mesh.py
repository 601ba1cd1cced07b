"""Faces with a shape of their own: where the mesh lies, and that nose, sockets and chin catch the light."""

from __future__ import annotations

import hopper
import numpy as np
import pytest
import skimage.data
from astronaut import photograph
from numpy.typing import NDArray

from scenewright_stages.backends.normals.interface import NORMALS
from scenewright_stages.backends.runtime.loading import load
from scenewright_stages.relight.shading import direction_of
from scenewright_stages.vision.geometry.normals import inflated_normals
from scenewright_stages.vision.subjects.people import face_heights
from scenewright_stages.vision.subjects.people.face_heights import cast_shadows
from scenewright_stages.vision.subjects.people.face_mesh import face_meshes
from scenewright_stages.vision.subjects.people.face_normals import BODY, normals_with_faces
from scenewright_stages.vision.subjects.people.learned import find_people

Floats = NDArray[np.float32]
NOSE, CHIN, RIGHT_EYE, LEFT_EYE = 1, 152, 33, 263
PLACES = {NOSE: (223, 132), CHIN: (222, 178), RIGHT_EYE: (193, 100), LEFT_EYE: (253, 100)}
"""Of the astronaut, pixels, read from the photograph."""


@pytest.fixture(scope="module")
def mesh() -> NDArray[np.float64]:
    (found,) = face_meshes(photograph())
    return found


@pytest.fixture(scope="module")
def alpha() -> Floats:
    return find_people(photograph()).alpha


def shapes(mesh: NDArray[np.float64], alpha: Floats) -> tuple[Floats, Floats]:
    """Normals with the face, and those of the silhouette alone."""
    luminance = np.ascontiguousarray(photograph()[..., 1])
    return normals_with_faces(alpha, luminance, 0.0, [mesh]), inflated_normals(alpha, luminance, 0.0, BODY)


def test_the_mesh_lies_on_the_face(mesh: NDArray[np.float64]) -> None:
    for point, place in PLACES.items():
        assert np.hypot(*(mesh[point, :2] - place)) < 8, point
    assert mesh[NOSE, 2] - mesh[:, 2].min() < 2 < mesh[CHIN, 2] - mesh[NOSE, 2]


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket"])
def test_pictures_without_a_face_have_no_mesh(name: str) -> None:
    assert not face_meshes(getattr(skimage.data, name)().astype(np.float32) / np.float32(255))


def test_each_side_of_the_nose_faces_its_own_way_and_the_silhouette_alone_has_no_nose(
    mesh: NDArray[np.float64], alpha: Floats
) -> None:
    x, y = (round(value) for value in mesh[NOSE, :2])
    rows, reach = slice(y - 8, y), 9
    with_face, without = shapes(mesh, alpha)
    turned = [float((each[rows, x + reach, 0] - each[rows, x - reach, 0]).mean()) for each in (with_face, without)]
    print(f"the nose's sides differ by {turned[0]:.2f}, the cushion's by {turned[1]:.2f}")
    assert turned[0] > 1.0
    assert turned[1] < 1.0


def test_teeth_are_no_ridge_and_the_rest_of_the_person_is_as_before(mesh: NDArray[np.float64], alpha: Floats) -> None:
    with_face, without = shapes(mesh, alpha)
    lips = mesh[[61, 291, 13, 14], :2]
    (left, _), (right, _) = lips[0], lips[1]
    top, bottom = lips[2][1], lips[3][1]
    mouth = with_face[round(top) : round(bottom) + 1, round(left) + 6 : round(right) - 6]
    assert np.abs(np.diff(mouth[..., 1], axis=0)).max() < 0.12
    beside = np.ones(alpha.shape, bool)
    low, high = np.floor(mesh[:, :2].min(axis=0)).astype(int), np.ceil(mesh[:, :2].max(axis=0)).astype(int) + 1
    beside[low[1] : high[1], low[0] : high[0]] = False
    assert np.array_equal(with_face[beside], without[beside])


def test_normals_are_unit_vectors_and_the_backend_names_its_model(alpha: Floats) -> None:
    backend = load(NORMALS, "face-mesh")
    normals = backend.estimate(photograph(), alpha)
    assert np.allclose(np.linalg.norm(normals, axis=2), 1, atol=1e-5)
    assert np.array_equal(normals[0, 0], [0, 0, -1])
    assert "@mediapipe/face_mesh" in backend.record.use().model


def _dark_around(light: Floats, mesh: NDArray[np.float64], point: int, across: float, down: float) -> float:
    """Share of the light that is missing about a place that lies so many widths of the face from a point of it."""
    size = float(np.ptp(mesh[:, 0]))
    x, y = mesh[point, 0] + across * size, mesh[point, 1] + down * size
    reach = 0.05 * size
    rows, columns = slice(round(y - reach), round(y + reach)), slice(round(x - reach), round(x + reach))
    return float(1 - light[rows, columns].mean())


@pytest.mark.parametrize("side", [1, -1], ids=["right", "left"])
def test_the_nose_casts_its_shadow_away_from_a_low_light(mesh: NDArray[np.float64], side: int) -> None:
    light = cast_shadows((512, 512), [mesh], direction_of(90 - 80 * side, 15), 1.0)
    assert light is not None and light.min() >= 0 and light.max() <= 1
    away, toward = (_dark_around(light, mesh, NOSE, step * side * 0.13, 0.0) for step in (-1, 1))
    print(f"{away:.2f} of the light is missing behind the nose, {toward:.2f} before it")
    assert away > 0.4
    assert toward < 0.1


def test_the_chin_darkens_the_neck_below_and_hair_and_hands_far_away_stay_as_they_are(
    mesh: NDArray[np.float64],
) -> None:
    light = cast_shadows((512, 512), [mesh], direction_of(90, 30), 1.0)
    assert light is not None
    assert _dark_around(light, mesh, CHIN, 0.0, 0.12) > 0.4
    assert _dark_around(light, mesh, NOSE, 0.0, -0.05) < 0.2
    assert (light[:40] == 1).all() and (light[300:] == 1).all()


@pytest.mark.parametrize("elevation", [20, 35, 50])
@pytest.mark.parametrize("azimuth", [60, 90, 120, 180, 270])
def test_the_shadow_of_the_nose_is_no_moustache(
    mesh: NDArray[np.float64], azimuth: float, elevation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft = cast_shadows((512, 512), [mesh], direction_of(azimuth, elevation), 1.0)
    for name, value in {"_DISC": (0.0, 0.0), "_DEEPEST": 1.0, "_PENUMBRA": (0.2, 0.6)}.items():
        monkeypatch.setattr(face_heights, name, value)
    hard = cast_shadows((512, 512), [mesh], direction_of(azimuth, elevation), 1.0)
    assert soft is not None and hard is not None
    size = float(np.ptp(mesh[:, 0]))
    x, y = mesh[NOSE, :2].round().astype(int)
    reach = round(0.4 * size)
    window = np.s_[y - reach : y + reach, x - reach : x + reach]
    steepness = [float(np.hypot(*np.gradient(light[window])).max() * size) for light in (soft, hard)]
    print(f"change over the width of a face: {steepness[0]:.1f}, of a point's shadow {steepness[1]:.1f}")
    assert steepness[0] < 10
    assert steepness[1] < 1 or steepness[0] < 0.65 * steepness[1]
    assert soft.min() > 0.3, "lit skin beside a shadow shines into it"


def test_clothes_and_hair_take_the_light_as_the_face_does(mesh: NDArray[np.float64], alpha: Floats) -> None:
    luminance = np.ascontiguousarray(photograph()[..., 1])
    below, above = mesh[CHIN, 1] + 60, mesh[10, 1] - 12
    rows = np.arange(512)[:, None]
    clothes, hair = ((alpha > 0.95) & where for where in (rows > below, rows < above))
    from_right = np.array(direction_of(0, 30), np.float32)
    from_left = np.array(direction_of(180, 30), np.float32)

    def change(normals: Floats, where: NDArray[np.bool_]) -> float:
        """Mean factor, as a logarithm, between two lights with a fifth of ambient light."""
        right, left = (0.2 + 0.8 * np.maximum(normals[where] @ light, 0) for light in (from_right, from_left))
        return float(np.abs(np.log(right / left)).mean())

    bodies = normals_with_faces(alpha, luminance, 0.0, [mesh])
    boards = inflated_normals(alpha, luminance, 0.0)
    places = {"clothes": clothes, "hair": hair}
    found = {name: (change(bodies, where), change(boards, where)) for name, where in places.items()}
    print(found)
    assert found["clothes"][0] > 1 > 1.3 * found["clothes"][1]
    assert found["hair"][0] > 0.8


def test_a_high_light_casts_less_and_one_from_the_camera_nothing(mesh: NDArray[np.float64]) -> None:
    low, high = (cast_shadows((512, 512), [mesh], direction_of(0, height), 1.0) for height in (15, 60))
    assert low is not None and high is not None
    assert (1 - high).sum() < 0.3 * (1 - low).sum()
    assert cast_shadows((512, 512), [mesh], (0.0, 0.0, -1.0), 1.0) is None
    assert cast_shadows((512, 512), [], direction_of(0, 15), 1.0) is None


def test_a_face_that_the_pictures_edge_cuts_casts_its_shadow_inside_the_picture(mesh: NDArray[np.float64]) -> None:
    moved = mesh - (200.0, 60.0, 0.0)
    light = cast_shadows((150, 120), [moved], direction_of(0, 15), 1.0)
    whole = cast_shadows((512, 512), [mesh], direction_of(0, 15), 1.0)
    assert light is not None and whole is not None and light.shape == (150, 120)
    assert np.abs(light - whole[60:210, 200:320]).mean() < 0.03
    assert light.min() < 0.5


def test_glasses_are_no_ridge() -> None:
    picture = hopper.photograph()
    (found,) = face_meshes(picture)
    cover = find_people(picture).alpha
    luminance = np.ascontiguousarray(picture[..., 1])
    x, y = found[[RIGHT_EYE, LEFT_EYE], 0], found[[RIGHT_EYE, LEFT_EYE], 1]
    window = np.s_[round(y.mean() - 30) : round(y.mean() + 40), round(x.min()) : round(x.max())]
    with_face, without = (
        np.abs(np.diff(normals[window][..., :2], axis=0)).max()
        for normals in (
            normals_with_faces(cover, luminance, 0.3, [found]),
            inflated_normals(cover, luminance, 1.0),
        )
    )
    print(f"steepest change of the normal about the glasses: {with_face:.3f}, of the picture's relief {without:.3f}")
    assert with_face < 0.12
    assert without > 0.12
