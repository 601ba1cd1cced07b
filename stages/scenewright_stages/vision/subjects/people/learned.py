"""Segments people with MediaPipe's small models: detects faces first, then segments their bodies.

OpenCV runs the published files on the CPU; results match MediaPipe's own runtime within 6e-5. The segmentation model
cannot distinguish people from other subjects (it segments a cat just as well), so a face is required.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from scenewright_stages.vision.imaging.colour import uint8_from_unit
from scenewright_stages.vision.imaging.matting import NoSubject, SubjectMatte, guided
from scenewright_stages.vision.imaging.resampling import enlarged, reduced, reduced_size
from scenewright_stages.vision.subjects.people import models
from scenewright_stages.vision.subjects.people.finding import find_person
from scenewright_stages.vision.types import Float32Array

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

_FACE_SIDE = 192
_FACE_CELLS = 48  # a side of the grid of answers; each cell has one
_LEAST_FACE = 0.5  # photographs of people score at least 0.71; cat, cup and rocket at most 0.28
_SIDE = 256
_SMALL_SIDE = 512
_WIDE = (256, 144)  # width and height that the model for wide pictures sees
_WIDE_FROM = 1.4
_LEAST_SHARE = 0.005
_UNLIKELY = 0.2  # smaller probabilities separate one person from another


@dataclass(frozen=True)
class LearnedFace:
    """A face.

    Attributes:
        box: around it, from the brows to the chin, in pixels of the image.
        score: confidence, 0 to 1.
    """

    box: Box
    score: float

    def scaled(self, scale: float) -> LearnedFace:
        """The same face in a scaled image."""
        left, top, right, bottom = (scale * edge for edge in self.box)
        return LearnedFace((left, top, right, bottom), self.score)


def find_people(
    srgb: Float32Array,
    box: Box | None = None,
    people: Literal["all", "largest"] = "all",
    held: bool = True,
    seed: int = 0,
) -> SubjectMatte:
    """Segments the people with a visible face in a photograph, or in a box of it.

    The model runs on each person's crop, and on the whole image for everything beyond. The matte follows the edges at
    full size. Worn things belong to the person.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].
        box: left, top, right, bottom in pixels; everything outside is excluded. None: the whole image.
        people: all of them, or the one who covers most of the image.
        held: whether held things belong to the person; otherwise they are excluded where the search by shape and colour
            (``find_person``) finds colours other than the person's.
        seed: of that search.

    Returns:
        Matte and mask at the image's size; the score is the face's.

    Raises:
        NoSubject: no face is visible, or hardly anything belongs to it.
        ModelsNotInstalled: the files are missing from this installation.
    """
    height, width = srgb.shape[:2]
    left, top, right, bottom = _inside(box or (0, 0, width, height), width, height)
    part = srgb[top:bottom, left:right]
    faces = find_faces(part)
    if not faces:
        raise NoSubject("no face was found; name a box around the person, or use another backend")
    # The models see 256 pixels of the image and of each person, so a copy of that resolution loses nothing.
    smallest = min(_person_side(face) for face in faces)
    size, scale = reduced_size(part.shape, max(_SMALL_SIDE, round(max(part.shape[:2]) * _SIDE / smallest)))
    part, faces = reduced(part, size), [face.scaled(scale) for face in faces]
    likely, grid = _person_probability(part, faces)
    if people == "largest" and len(faces) > 1:
        likely, faces = _largest(likely, faces)
    if not held:
        likely = likely * _without_held(part, faces, seed)
    rough = np.zeros((height, width), np.float32)
    rough[top:bottom, left:right] = enlarged(likely, (right - left, bottom - top))
    if (rough > 0.5).mean() < _LEAST_SHARE:
        raise NoSubject("a face was found, but nobody whom it belongs to")
    alpha = guided.refine_matte(srgb, rough, max(1, round(1.5 * grid / scale)))
    return SubjectMatte(alpha, alpha >= 0.5, round(faces[0].score, 4), "selfie")


def find_faces(srgb: Float32Array) -> list[LearnedFace]:
    """The confidently detected faces, most confident first, without duplicates.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].
    """
    height, width = srgb.shape[:2]
    scale = _FACE_SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = np.zeros((_FACE_SIDE, _FACE_SIDE, 3), np.float32)
    canvas[: size[1], : size[0]] = _resized(srgb, size)
    network = models.network(models.FACES)
    network.setInput(cv2.dnn.blobFromImage(canvas * 2 - 1))
    logits, boxes = network.forward(["reshaped_classifier_face_4", "reshaped_regressor_face_4"])
    scores = 1 / (1 + np.exp(-np.float64(logits.ravel())))
    faces: list[LearnedFace] = []
    for cell in np.argsort(-scores, kind="stable"):
        if scores[cell] < _LEAST_FACE:
            break
        face = LearnedFace(_face_box(int(cell), boxes[0, cell], scale), float(scores[cell]))
        if not any(_holds_middle(known.box, face.box) for known in faces):
            faces.append(face)
    return faces


def _face_box(cell: int, answer: Float32Array, scale: float) -> Box:
    """The box in the image for a cell's answer (offset of the centre, and size, in pixels of the model's input)."""
    row, column = divmod(cell, _FACE_CELLS)
    across, down, wide, high = (float(value) for value in answer[:4])
    x, y = ((place + 0.5) * _FACE_SIDE / _FACE_CELLS for place in (column, row))
    x, y = x + across, y + down
    return (x - wide / 2) / scale, (y - high / 2) / scale, (x + wide / 2) / scale, (y + high / 2) / scale


def _holds_middle(outer: Box, inner: Box) -> bool:
    x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
    return outer[0] < x < outer[2] and outer[1] < y < outer[3]


def _person_probability(srgb: Float32Array, faces: list[LearnedFace]) -> tuple[Float32Array, float]:
    """(H, W) person probability, and image pixels per pixel of the coarsest pass.

    The model was not trained on several people, so it runs once per person.
    """
    height, width = srgb.shape[:2]
    likely, seen = np.zeros((height, width), np.float32), np.zeros((height, width), bool)
    longest = 0
    for face in faces:
        left, top, right, bottom = _inside(_around(face), width, height)
        part = likely[top:bottom, left:right]
        np.maximum(part, _look(srgb[top:bottom, left:right]), out=part)
        seen[top:bottom, left:right] = True
        longest = max(longest, right - left, bottom - top)
    if not seen.all():
        likely = np.where(seen, likely, _look(srgb))
    return _parts_with_faces(likely, faces), longest / _SIDE


def _parts_with_faces(likely: Float32Array, faces: list[LearnedFace]) -> Float32Array:
    """The probability without components that contain no face."""
    height, width = likely.shape
    _, parts = cv2.connectedComponents((likely > _UNLIKELY).astype(np.uint8), connectivity=4)
    kept: set[int] = set()
    for face in faces:
        left, top, right, bottom = _inside(face.box, width, height)
        kept |= set(np.unique(parts[top:bottom, left:right]).tolist())
    return np.where(np.isin(parts, sorted(kept - {0})), likely, np.float32(0))


def _largest(likely: Float32Array, faces: list[LearnedFace]) -> tuple[Float32Array, list[LearnedFace]]:
    """Keeps the person who covers most of the image; where people touch, each pixel belongs to the nearest face."""
    height, width = likely.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    # A body is below its face, so use horizontal distances, in units of the face's size.
    distances = [
        np.abs(columns - (left + right) / 2) / (right - left) + np.maximum(top - rows, 0) / (bottom - top)
        for left, top, right, bottom in (face.box for face in faces)
    ]
    owner = np.argmin(distances, axis=0)
    areas = [float(likely[owner == number].sum()) for number in range(len(faces))]
    largest = int(np.argmax(areas))
    alone = np.where(owner == largest, likely, np.float32(0))
    return _parts_with_faces(alone, [faces[largest]]), [faces[largest]]


def _without_held(srgb: Float32Array, faces: list[LearnedFace], seed: int) -> Float32Array:
    """(H, W) weight in [0, 1] of pixels with the shape and colours of a person; 1 where that is not searched."""
    height, width = srgb.shape[:2]
    found, searched = np.zeros((height, width), np.float32), np.zeros((height, width), bool)
    for face in faces:
        left, top, right, bottom = _inside(_around(face), width, height)
        try:
            np.maximum(found, find_person(srgb, (left, top, right, bottom), seed).alpha, out=found)
        except NoSubject:
            continue
        searched[top:bottom, left:right] = True
    return np.where(searched, found, np.float32(1))


def _around(face: LearnedFace) -> Box:
    """Box of head, arms and body down to the hips of an upright person."""
    left, top, right, bottom = face.box
    size = max(right - left, bottom - top)
    return left - 2.5 * size, top - 1.5 * size, right + 2.5 * size, bottom + 5 * size


def _person_side(face: LearnedFace) -> float:
    """Longer side of the model's crop for one person."""
    left, top, right, bottom = _around(face)
    return max(right - left, bottom - top)


def _look(srgb: Float32Array) -> Float32Array:
    """(H, W) output of the model for the image's aspect ratio."""
    height, width = srgb.shape[:2]
    wide = width >= _WIDE_FROM * height
    size = _WIDE if wide else (_SIDE, _SIDE)
    network = models.network(models.PEOPLE_IN_WIDE_PICTURES if wide else models.PEOPLE)
    network.setInput(cv2.dnn.blobFromImage(_resized(srgb, size)))
    answer = np.asarray(network.forward(), np.float32).reshape(size[1], size[0])
    enlarged = cv2.resize(answer, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(enlarged, 0, 1)


def _resized(srgb: Float32Array, size: tuple[int, int]) -> Float32Array:
    """(H, W, 3) at a network's input size, rounded to the 256 levels of its training."""
    levels = uint8_from_unit(np.asarray(cv2.resize(srgb, size, interpolation=cv2.INTER_AREA), np.float32))
    return np.asarray(levels, np.float32) / np.float32(255)


def _inside(box: Box, width: int, height: int) -> tuple[int, int, int, int]:
    left, top = max(0, int(box[0])), max(0, int(box[1]))
    right, bottom = min(width, int(np.ceil(box[2]))), min(height, int(np.ceil(box[3])))
    if right - left < 2 or bottom - top < 2:
        raise ValueError(f"the box {box} holds nothing of a picture of {width}x{height} pixels")
    return left, top, right, bottom
