"""Interface of normals backends, and the classic backend.

Images are float32 sRGB in [0, 1], shape (H, W, 3); normals are in the camera's frame (OpenCV: x right, y down, z
forward). Calls may come from several threads at once.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.runtime.bundled import BundledModels
from scenewright_stages.backends.runtime.capability import Backend, Capability
from scenewright_stages.backends.runtime.errors import BackendContractError
from scenewright_stages.backends.runtime.loading import LoadRequest, WeightlessBackend
from scenewright_stages.vision.subjects.people.face_mesh import face_meshes
from scenewright_stages.vision.subjects.people.face_normals import normals_with_faces
from scenewright_stages.vision.types import Float32Array


@runtime_checkable
class NormalEstimator(Backend, Protocol):
    """Estimates surface normals."""

    def estimate(self, srgb: Float32Array, alpha: Float32Array) -> Float32Array:
        """(H, W, 3) float32 unit normals; a surface that faces the camera has z = -1.

        Raises:
            BackendContractError: the result is not finite or has the wrong shape.
        """


@runtime_checkable
class FaceShapeEstimator(NormalEstimator, Protocol):
    """Also returns the faces in the image, which cast shadows."""

    def estimate_with_faces(
        self, srgb: Float32Array, alpha: Float32Array
    ) -> tuple[Float32Array, list[NDArray[np.float64]]]:
        """As ``estimate``, and (468, 3) points of each face, pixels of the picture, see ``face_meshes``."""


NORMALS = Capability("normals", NormalEstimator)


def check_normals(normals: Float32Array, srgb: Float32Array) -> Float32Array:
    """The normals at unit length; zero vectors face the camera.

    Raises:
        BackendContractError: they are not finite, or their size differs from the image's.
    """
    from scenewright_stages.vision.geometry.normals.kernels import unit_normals

    if normals.shape != srgb.shape:
        raise BackendContractError(f"the normals {normals.shape} do not fit {srgb.shape}")
    unit, finite = unit_normals(np.ascontiguousarray(normals, np.float32))
    if not finite:
        raise BackendContractError("the normals are not finite")
    result: Float32Array = unit
    return result


class ClassicNormals(WeightlessBackend):
    """The inflated silhouette."""

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self._detail = float(request.context.option("detail", 1.0))

    def estimate(self, srgb: Float32Array, alpha: Float32Array) -> Float32Array:
        """See ``NormalEstimator.estimate``; uses the green channel as luminance."""
        return normals_with_faces(alpha, np.ascontiguousarray(srgb[..., 1]), self._detail, ())


class FaceMeshNormals(BundledModels):
    """Face geometry from MediaPipe's mesh, on the inflated silhouette."""

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self._detail = float(request.context.option("detail", 1.0))

    def estimate(self, srgb: Float32Array, alpha: Float32Array) -> Float32Array:
        """See ``NormalEstimator.estimate``; without a face, only the silhouette."""
        return self.estimate_with_faces(srgb, alpha)[0]

    def estimate_with_faces(
        self, srgb: Float32Array, alpha: Float32Array
    ) -> tuple[Float32Array, list[NDArray[np.float64]]]:
        """See ``FaceShapeEstimator``; only faces inside the matte count."""
        meshes = [mesh for mesh in face_meshes(srgb) if _is_cut_out(mesh, alpha)]
        return normals_with_faces(alpha, np.ascontiguousarray(srgb[..., 1]), self._detail, meshes), meshes


def _is_cut_out(mesh: NDArray[np.float64], alpha: Float32Array) -> bool:
    """Whether the centre of a face lies inside the matte."""
    column, row = np.rint(mesh[:, :2].mean(axis=0)).astype(int)
    height, width = alpha.shape
    return 0 <= row < height and 0 <= column < width and bool(alpha[row, column] > 0.5)
