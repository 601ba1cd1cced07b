"""Faces with a shape of their own: where the mesh lies, and that nose, sockets and chin catch the light."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
from astronaut import photograph
from numpy.typing import NDArray

from scenewright_stages.backends.loading import load
from scenewright_stages.backends.normals.interface import NORMALS
from scenewright_stages.vision.normals import inflated_normals
from scenewright_stages.vision.normals.faces import normals_with_faces
from scenewright_stages.vision.people.face_mesh import face_meshes
from scenewright_stages.vision.people.learned import find_people

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
    return normals_with_faces(alpha, luminance, 0.0, [mesh]), inflated_normals(alpha, luminance, 0.0)


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
