"""The 468 points of MediaPipe's face mesh, in three dimensions."""

from __future__ import annotations

import cv2
import numpy as np

from scenewright_stages.vision.imaging.colour import uint8_from_unit
from scenewright_stages.vision.subjects.people import models
from scenewright_stages.vision.subjects.people.learned import Box, find_faces
from scenewright_stages.vision.types import Float32Array, Float64Array

INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415)
"""Points on the inner edge of the lips: between them are teeth, of which the mesh knows nothing."""
_OUTER_CORNERS_OF_EYES = (33, 263)
_SIDE = 192
_AROUND = 1.5  # side of the model's crop, relative to the face's longer side
_LEAST_SCORE = 0.5


def face_meshes(srgb: Float32Array) -> list[Float64Array]:
    """The mesh of each detected face, most confident first.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].

    Returns:
        (468, 3) float64 each: x to the right and y down in pixels of the image; z away from the camera in the same
        unit, relative to about the middle of the head.

    Raises:
        ModelsNotInstalled: the files are missing from this installation.
    """
    found = (_mesh(srgb, face.box) for face in find_faces(srgb))
    return [mesh for mesh in found if mesh is not None]


def _mesh(srgb: Float32Array, box: Box) -> Float64Array | None:
    """The mesh of a face, in two passes; the second pass sees the face upright and centred."""
    rough, score = _look(srgb, box, 0.0)
    if score < _LEAST_SCORE:
        return None
    right, left = rough[list(_OUTER_CORNERS_OF_EYES), :2]
    tilt = float(np.degrees(np.arctan2(left[1] - right[1], left[0] - right[0])))
    low, high = rough[:, :2].min(axis=0), rough[:, :2].max(axis=0)
    mesh, score = _look(srgb, (float(low[0]), float(low[1]), float(high[0]), float(high[1])), tilt)
    return mesh if score >= _LEAST_SCORE else None


def _look(srgb: Float32Array, box: Box, tilt: float) -> tuple[Float64Array, float]:
    """The model's mesh for a box rotated by `tilt` degrees, and its confidence."""
    left, top, right, bottom = box
    middle = ((left + right) / 2, (top + bottom) / 2)
    side = _AROUND * max(right - left, bottom - top)
    seen_from_picture = np.asarray(cv2.getRotationMatrix2D(middle, tilt, _SIDE / side), np.float64)
    seen_from_picture[:, 2] += _SIDE / 2 - np.array(middle)
    crop = cv2.warpAffine(srgb, seen_from_picture, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR)
    levels = uint8_from_unit(np.asarray(crop, np.float32))
    net = models.network(models.FACE_MESH)
    net.setInput(cv2.dnn.blobFromImage(np.asarray(levels, np.float32) / np.float32(255)))
    points, certainty = net.forward(["conv2d_21", "conv2d_31"])
    seen = np.asarray(points, np.float64).reshape(-1, 3)
    picture_from_seen = cv2.invertAffineTransform(seen_from_picture)
    places = seen[:, :2] @ picture_from_seen[:, :2].T + picture_from_seen[:, 2]
    score = 1 / (1 + np.exp(-np.float64(certainty.ravel()[0])))
    return np.column_stack([places, seen[:, 2] * side / _SIDE]), float(score)
