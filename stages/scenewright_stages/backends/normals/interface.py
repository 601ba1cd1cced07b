"""What a stage may ask of a normals backend, which way the surface faces at every pixel, and the classic backend.

Images are float32 sRGB in [0, 1], shape (H, W, 3); normals are in the camera's frame (OpenCV: x right, y down, z
forward). Calls may come from several threads at once.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.bundled import BundledModels
from scenewright_stages.backends.capability import Backend, Capability, FloatImage
from scenewright_stages.backends.errors import BackendContractError
from scenewright_stages.backends.loading import LoadRequest, WeightlessBackend
from scenewright_stages.vision.normals import inflated_normals
from scenewright_stages.vision.normals.faces import normals_with_faces
from scenewright_stages.vision.people.face_mesh import face_meshes


@runtime_checkable
class NormalEstimator(Backend, Protocol):
    """Tells which way the surface faces."""

    def estimate(self, srgb: FloatImage, alpha: FloatImage) -> FloatImage:
        """(H, W, 3) float32 unit normals; a surface that faces the camera has z = -1.

        Raises:
            BackendContractError: the answer is not finite or of another shape.
        """


@runtime_checkable
class FaceShapeEstimator(NormalEstimator, Protocol):
    """Knows the faces in the picture too, which cast shadows."""

    def estimate_with_faces(self, srgb: FloatImage, alpha: FloatImage) -> tuple[FloatImage, list[NDArray[np.float64]]]:
        """As ``estimate``, and (468, 3) points of each face, pixels of the picture, see ``face_meshes``."""


NORMALS = Capability("normals", NormalEstimator)


def check_normals(normals: FloatImage, srgb: FloatImage) -> FloatImage:
    """The normals at unit length; those without any direction face the camera.

    Raises:
        BackendContractError: they are not finite or not as large as the image.
    """
    from scenewright_stages.vision.normals.kernels import unit_normals

    if normals.shape != srgb.shape:
        raise BackendContractError(f"the normals {normals.shape} do not fit {srgb.shape}")
    unit, finite = unit_normals(np.ascontiguousarray(normals, np.float32))
    if not finite:
        raise BackendContractError("the normals are not finite")
    result: FloatImage = unit
    return result


class ClassicNormals(WeightlessBackend):
    """The inflated silhouette."""

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self._detail = float(request.context.option("detail", 1.0))

    def estimate(self, srgb: FloatImage, alpha: FloatImage) -> FloatImage:
        """See ``NormalEstimator.estimate``; brightness is the green channel, most of the luminance."""
        return inflated_normals(alpha, np.ascontiguousarray(srgb[..., 1]), self._detail)


class FaceMeshNormals(BundledModels):
    """Faces with the shape that MediaPipe's mesh gives them, on the inflated silhouette."""

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self._detail = float(request.context.option("detail", 1.0))

    def estimate(self, srgb: FloatImage, alpha: FloatImage) -> FloatImage:
        """See ``NormalEstimator.estimate``; where no face is found the silhouette alone."""
        return self.estimate_with_faces(srgb, alpha)[0]

    def estimate_with_faces(self, srgb: FloatImage, alpha: FloatImage) -> tuple[FloatImage, list[NDArray[np.float64]]]:
        """See ``FaceShapeEstimator``; only faces inside the matte count."""
        meshes = [mesh for mesh in face_meshes(srgb) if _is_cut_out(mesh, alpha)]
        return normals_with_faces(alpha, np.ascontiguousarray(srgb[..., 1]), self._detail, meshes), meshes


def _is_cut_out(mesh: NDArray[np.float64], alpha: FloatImage) -> bool:
    """Whether the middle of a face belongs to somebody who was cut out."""
    column, row = np.rint(mesh[:, :2].mean(axis=0)).astype(int)
    height, width = alpha.shape
    return 0 <= row < height and 0 <= column < width and bool(alpha[row, column] > 0.5)
