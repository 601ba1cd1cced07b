"""Finds a person without a model: from face or box, by shape and colour, with a graph cut and a full-size matte."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from scenewright_stages.vision.imaging.colour import uint8_from_unit
from scenewright_stages.vision.imaging.matting import NoSubject, SubjectMatte, guided
from scenewright_stages.vision.imaging.resampling import enlarged, reduced, reduced_size
from scenewright_stages.vision.subjects.people.colour_models import person_probability
from scenewright_stages.vision.subjects.people.faces import Face, find_faces
from scenewright_stages.vision.subjects.people.shape_prior import Box, ShapePrior, prior_of_box, prior_of_face
from scenewright_stages.vision.types import Float32Array, Mask

_CUT_SIDE = 160  # longer side of the copy that is cut
_SURE = 0.97  # the cut does not change probabilities above it or below 1 - it
_FACE_SIDE = 512
_LEAST_SHARE = 0.005  # of the picture: less is not a subject
_MATTE_BLOCKS = 1.6  # largest error of the outline, in pixels of the small copy


def find_person(srgb: Float32Array, box: Box | None = None, seed: int = 0) -> SubjectMatte:
    """The person in a photograph: the one with the clearest face, or the one in a box.

    A cascade over local binary patterns detects an upright frontal face. A shape prior of head and shoulders, with
    their colours, gives a probability; where that is undecided, a graph cut (GrabCut, Rother et al. 2004) decides on a
    copy of 160 pixels. The matte follows the edges at full size.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].
        box: left, top, right, bottom in pixels around the whole person; None: detect a face. With a box, a face is
            searched inside it but not required.
        seed: of the cut's colour clusters.

    Returns:
        Matte and mask at the image's size. Held or occluding things are excluded if their colours differ from the
        person's.

    Raises:
        NoSubject: there is no face and no box, or nothing in the box stands out.
        ValueError: the box is empty or outside the image.
    """
    height, width = srgb.shape[:2]
    if box is not None:
        box = _clipped(box, width, height)
    face = _find_face(srgb, box)
    if face is None and box is None:
        raise NoSubject("no face was found and no box is given; name a box around the person, or use another backend")
    size, scale = reduced_size(srgb.shape, _CUT_SIDE)
    small = reduced(srgb, size)
    prior = _prior((size[1], size[0]), scale, face, box)
    probability = person_probability(small, prior)
    rough = _largest_part(_cut(small, probability, seed), prior)
    if rough.mean() < _LEAST_SHARE:
        raise NoSubject("nothing stands out where the person should be")
    alpha = _matte(srgb, rough, 1 / scale)
    score = _score(probability, rough, face)
    return SubjectMatte(alpha, alpha >= 0.5, score, "classic-face" if face else "classic-box")


def portrait_box(srgb: Float32Array) -> Box | None:
    """A head-and-shoulders box of the person with the clearest face, for models that need one; None without a face.

    Args:
        srgb: (H, W, 3) float32 in [0, 1].

    Returns:
        Left, top, right, bottom in pixels, clipped to the image: in units of the face's side, 2 to the left and right,
        4/3 above and 4.5 below.
    """
    face = _find_face(srgb, None)
    if face is None:
        return None
    around = (-2.0, -1.33, 2.0, 4.5)
    left, top, right, bottom = (
        middle + face.size * step for middle, step in zip((face.x, face.y, face.x, face.y), around, strict=True)
    )
    return _clipped((left, top, right, bottom), srgb.shape[1], srgb.shape[0])


def _clipped(box: Box, width: int, height: int) -> Box:
    left, top, right, bottom = max(0.0, box[0]), max(0.0, box[1]), min(float(width), box[2]), min(float(height), box[3])
    if right - left < 2 or bottom - top < 2:
        raise ValueError(f"the box {box} holds nothing of a picture of {width}x{height} pixels")
    return left, top, right, bottom


def _find_face(srgb: Float32Array, box: Box | None) -> Face | None:
    """The best supported face, in pixels of the image."""
    left, top, right, bottom = (int(edge) for edge in box) if box else (0, 0, srgb.shape[1], srgb.shape[0])
    part = srgb[top:bottom, left:right]
    size, scale = reduced_size(part.shape, _FACE_SIDE)
    grey = cv2.cvtColor(uint8_from_unit(reduced(part, size)), cv2.COLOR_RGB2GRAY)
    faces = find_faces(np.asarray(grey, np.uint8))
    if not faces:
        return None
    best = faces[0]
    return replace(best, x=best.x / scale + left, y=best.y / scale + top, size=best.size / scale)


def _prior(shape: tuple[int, int], scale: float, face: Face | None, box: Box | None) -> ShapePrior:
    inside = None if box is None else prior_of_box(shape, tuple(edge * scale for edge in box))  # type: ignore[arg-type]
    if face is None:
        assert inside is not None, "without a face there is a box"
        return inside
    around = prior_of_face(shape, replace(face, x=face.x * scale, y=face.y * scale, size=face.size * scale))
    if inside is None:
        return around
    return replace(
        around, impossible=around.impossible | inside.impossible, certain=around.certain & ~inside.impossible
    )


def _cut(srgb: Float32Array, probability: Float32Array, seed: int) -> Mask:
    """Graph cut over the pixels with an undecided probability."""
    labels = np.where(probability > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[probability > _SURE] = cv2.GC_FGD
    labels[probability < 1 - _SURE] = cv2.GC_BGD
    if not (labels & 1).any() or (labels & 1).all():
        return probability > 0.5
    cv2.setRNGSeed(seed % 2**31)
    image = np.ascontiguousarray(uint8_from_unit(srgb)[..., ::-1])
    cv2.grabCut(image, labels, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), 1, cv2.GC_INIT_WITH_MASK)
    person: Mask = (labels & 1).astype(bool)
    return person


def _largest_part(rough: Mask, prior: ShapePrior) -> Mask:
    """The connected component that covers most of the certain pixels; holes stay open."""
    count, parts = cv2.connectedComponents(rough.astype(np.uint8), connectivity=4)
    if count <= 2:
        return rough
    covered = np.bincount(parts[rough & prior.certain], minlength=count) * rough.size + np.bincount(
        parts.ravel(), minlength=count
    )
    covered[0] = 0
    part: Mask = parts == int(covered.argmax())
    return part


def _matte(srgb: Float32Array, rough: Mask, factor: float) -> Float32Array:
    size = (srgb.shape[1], srgb.shape[0])
    large = enlarged(rough.astype(np.float32), size)
    return guided.refine_matte(srgb, large, max(1, round(_MATTE_BLOCKS * factor)))


def _score(probability: Float32Array, rough: Mask, face: Face | None) -> float:
    """Separation of person and background, reduced for a weakly supported face."""
    clear = float(np.abs(2 * probability - 1).mean())
    seen = 1.0 if face is None else face.support / (face.support + 3.0)
    agreed = float((rough == (probability > 0.5)).mean())
    return round(clear * seen * agreed, 4)


def warm_up() -> None:
    """Compiles the kernels, or loads them from the cache."""
    picture = np.zeros((64, 64, 3), np.float32)
    picture[16:, 16:48] = (0.9, 0.4, 0.1)
    find_person(picture, (12.0, 12.0, 52.0, 64.0))
