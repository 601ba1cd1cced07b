"""Pseudo-normals of a person with real face geometry (nose, eye sockets, lips, chin) on the inflated silhouette.

A thin-plate spline through the points of the face mesh gives the height. It smooths over details that the mesh lacks
(teeth, eyelid folds), so that they do not become ridges. Towards its outline the face fades into the cushion.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from scenewright_stages.vision.geometry.normals.estimation import inflated_normals
from scenewright_stages.vision.subjects.people.face_heights import face_heights
from scenewright_stages.vision.types import Float32Array, Float64Array

BODY = 0.6
"""How far from its outline a body rises, as a share of the root of its area: chest and arms are round, not boards."""
_GRID = 56  # a side of the grid that the spline is evaluated on
_FADE = 0.14  # of the face's width, inwards from its outline
_FINEST = 0.05  # of the face's width: the mesh knows no sharper folds, and light from the side would draw its triangles
_DEPTH = 0.75  # of the mesh, which is deeper than the faces it was measured on
_STEEPEST = 0.15  # least share of a cushion's normal that faces the camera, where its slope is read


def normals_with_faces(
    alpha: Float32Array, luminance: Float32Array, detail: float, meshes: Sequence[Float64Array]
) -> Float32Array:
    """Unit normals of a person in the camera's frame (OpenCV axes; facing the camera = -z).

    Args:
        alpha: (H, W) float32 in [0, 1], the person's matte.
        luminance: (H, W) float32 in [0, 1]; shapes everything but faces, see ``inflated_normals``.
        detail: strength of that relief.
        meshes: (468, 3) each, pixels of the image, from ``face_meshes``.

    Returns:
        (H, W, 3) float32; (0, 0, -1) outside the person.
    """
    normals = inflated_normals(alpha, luminance, detail, BODY)
    for mesh in meshes:
        _put_face(normals, mesh, alpha)
    return normals


def _put_face(normals: Float32Array, mesh: Float64Array, alpha: Float32Array) -> None:
    """Replaces the normals of one face, in place."""
    height, width = alpha.shape
    low = np.floor(mesh[:, :2].min(axis=0)).astype(int)
    high = np.ceil(mesh[:, :2].max(axis=0)).astype(int) + 1
    (left, top), (right, bottom) = np.maximum(low, 0), np.minimum(high, (width, height))
    if right - left < 8 or bottom - top < 8:
        return
    size = float(np.ptp(mesh[:, 0]))
    window = np.s_[top:bottom, left:right]
    across, down = _slopes(mesh, size, (left, top, right, bottom))
    share = _share(mesh, size, (left, top, right, bottom))[..., None]
    cover = alpha[window][..., None]
    cushion = normals[window] / np.maximum(-normals[window][..., 2:], _STEEPEST)
    face = np.dstack([-across, -down, np.zeros_like(across)]) * cover
    face[..., 2] = -1
    blended = cushion * (1 - share) + face * share
    normals[window] = blended / np.linalg.norm(blended, axis=2, keepdims=True)


def _slopes(mesh: Float64Array, size: float, box: tuple[int, int, int, int]) -> tuple[Float32Array, Float32Array]:
    """(h, w) derivatives of the face's height to the right and down, in a box of the image."""
    left, top, right, bottom = box
    places = np.meshgrid(np.linspace(left, right - 1, _GRID), np.linspace(top, bottom - 1, _GRID))
    heights = face_heights(mesh, *places)
    large = cv2.resize(heights, (right - left, bottom - top), interpolation=cv2.INTER_CUBIC)
    smooth = cv2.GaussianBlur(large, (0, 0), max(_FINEST * size, 0.5))
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order, scale=_DEPTH / 8) for order in ((1, 0), (0, 1)))
    return np.asarray(across, np.float32), np.asarray(down, np.float32)


def _share(mesh: Float64Array, size: float, box: tuple[int, int, int, int]) -> Float32Array:
    """(h, w) blend weight of the face's normals: 1 inside, falling to 0 at the face's outline."""
    left, top, right, bottom = box
    outline = cv2.convexHull(np.asarray(mesh[:, :2], np.float32)).reshape(-1, 2) - (left, top)
    # Pad, because a face clipped by the image border has no outline there.
    inside = np.zeros((bottom - top + 2, right - left + 2), np.uint8)
    cv2.fillConvexPoly(inside, np.rint(outline + 1).astype(np.int32), 1)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5)[1:-1, 1:-1]
    ramp = np.clip(distance / np.float32(_FADE * size), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32)
