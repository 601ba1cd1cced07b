"""What a stage may ask of a segmentation backend, a subject's soft matte, and the backends without weights.

The subject is named by a text, by points on it and beside it, by a box, or by a rough mask. A backend says what it
reads and refuses the rest: a subject that is silently ignored would give the matte of something else. Images are
float32 sRGB in [0, 1], shape (H, W, 3). Calls may come from several threads at once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from scenewright_stages.backends.bundled import BundledModels
from scenewright_stages.backends.capability import Backend, Capability, FloatImage, Mask
from scenewright_stages.backends.errors import BackendContractError, UnsupportedSubject
from scenewright_stages.backends.loading import LoadRequest, WeightlessBackend
from scenewright_stages.vision.matting import NoSubject, SubjectMatte, refine_matte
from scenewright_stages.vision.people import find_person
from scenewright_stages.vision.people.learned import find_people
from scenewright_stages.vision.regions import bounding_box, innermost

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""
SubjectKind = Literal["text", "points", "box", "mask"]

_ROOM = 0.03  # around a mask in its box, as a share of the box
_LEAST_SHARE = 0.002  # of the picture: less is no subject


@dataclass(frozen=True)
class SubjectPoint:
    """A place in the picture, in pixels from its top left corner, that belongs to the subject or does not."""

    x: float
    y: float
    inside: bool = True


@dataclass(frozen=True, eq=False)
class Subject:
    """What to cut out. What is given holds together: a text and a box mean what the text says inside the box.

    Attributes:
        text: what it is, such as ``person``; empty: not said.
        points: places on it and beside it; empty: not said.
        box: around it; None: wherever it is.
        mask: (H, W) bool, roughly where it is; None: not known.
    """

    text: str = ""
    points: tuple[SubjectPoint, ...] = ()
    box: Box | None = None
    mask: Mask | None = None

    @property
    def given(self) -> list[SubjectKind]:
        """How the subject is named."""
        found: list[tuple[SubjectKind, bool]] = [
            ("text", bool(self.text)),
            ("points", bool(self.points)),
            ("box", self.box is not None),
            ("mask", self.mask is not None),
        ]
        return [kind for kind, is_given in found if is_given]

    def limited_to(self, kinds: Collection[SubjectKind]) -> Subject:
        """The subject without what is not of these kinds, for stages to which the rest is only a hint."""
        nothing = Subject()
        return replace(self, **{kind: getattr(nothing, kind) for kind in self.given if kind not in kinds})


def subject_of(mask: Mask) -> Subject:
    """What a segmenter is told to draw a mask again: a box with some room, and the place deepest inside.

    Args:
        mask: (H, W) bool, not empty.
    """
    height, width = mask.shape
    left, top, right, bottom = bounding_box(mask)
    across, down = _ROOM * (right - left), _ROOM * (bottom - top)
    box = (max(0.0, left - across), max(0.0, top - down), min(width, right + across), min(height, bottom + down))
    return Subject(points=(SubjectPoint(*innermost(mask)),), box=box)


@runtime_checkable
class Segmenter(Backend, Protocol):
    """Cuts a subject out."""

    @property
    def reads(self) -> frozenset[SubjectKind]:
        """How it can be told what the subject is."""

    def segment(self, srgb: FloatImage, subject: Subject, seed: int = 0) -> SubjectMatte:
        """The subject's matte at full size.

        Args:
            srgb: (H, W, 3) float32 in [0, 1].
            subject: what to cut out; with nothing said, what the backend finds by itself.
            seed: same image, subject and seed give the same matte.

        Raises:
            NoSubject: it is not in the picture.
            UnsupportedSubject: the backend cannot be told in this way; says what to give instead.
            ValueError: the subject lies outside the picture.
            BackendContractError: the answer is unusable.
        """


SEGMENT = Capability("segment", Segmenter)


def check_subject(segmenter: Segmenter, srgb: FloatImage, subject: Subject) -> None:
    """Refuse a subject that the backend does not read, or that lies outside the picture.

    Raises:
        UnsupportedSubject: names what the backend reads.
        ValueError: a point or the whole box is outside, or the mask is not bool of the image's size.
    """
    for kind in subject.given:
        if kind not in segmenter.reads:
            known = " or ".join(sorted(segmenter.reads))
            remedy = f"name the subject by {known}, or use a backend that reads {kind} (docs/backends.md)"
            raise UnsupportedSubject(segmenter.record.backend, f"reads no {kind}", remedy)
    height, width = srgb.shape[:2]
    for point in subject.points:
        if not (0 <= point.x <= width and 0 <= point.y <= height):
            raise ValueError(f"the point ({point.x:g}, {point.y:g}) lies outside a picture of {width}x{height} pixels")
    if subject.box is not None:
        left, top, right, bottom = subject.box
        if not (left < min(right, width) and top < min(bottom, height) and right > 0 and bottom > 0):
            raise ValueError(f"the box {subject.box} holds nothing of a picture of {width}x{height} pixels")
    if subject.mask is not None and (subject.mask.shape != (height, width) or subject.mask.dtype != np.bool_):
        raise ValueError(f"the mask must be bool {(height, width)}, not {subject.mask.dtype} {subject.mask.shape}")


def matte_of(srgb: FloatImage, probability: FloatImage, score: float, method: str, blocks: int) -> SubjectMatte:
    """A matte from the probability of each pixel, which a model knew on a coarser grid.

    Args:
        srgb: (H, W, 3) float32.
        probability: (H, W) float32 in [0, 1], enlarged smoothly.
        score: of the instance.
        method: goes into the matte's ``method``.
        blocks: pixels of the image per pixel of the model's grid.

    Raises:
        NoSubject: hardly a pixel is likely.
        BackendContractError: the probability is not finite.
    """
    if not np.isfinite(probability).all():
        raise BackendContractError("the model answered a mask that is not finite")
    rough = probability > 0.5
    if rough.mean() < _LEAST_SHARE:
        raise NoSubject("the model found nothing that fits the prompt")
    alpha = refine_matte(srgb, rough, 2 * blocks)
    return SubjectMatte(alpha, alpha >= 0.5, round(float(score), 4), method)


class ClassicSegmenter(WeightlessBackend):
    """Finds the person with the clearest face, or the one in a box; it knows no other subjects."""

    reads: frozenset[SubjectKind] = frozenset({"box"})

    def segment(self, srgb: FloatImage, subject: Subject, seed: int = 0) -> SubjectMatte:
        """See ``Segmenter.segment``."""
        check_subject(self, srgb, subject)
        return find_person(srgb, subject.box, seed)


class SelfieSegmenter(BundledModels):
    """Cuts out everybody when a face is seen; what shows no face to the model is left to the classic search."""

    reads: frozenset[SubjectKind] = frozenset({"box"})

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self._people = request.context.option("people", "all")
        self._held = bool(request.context.option("held", True))

    def segment(self, srgb: FloatImage, subject: Subject, seed: int = 0) -> SubjectMatte:
        """See ``Segmenter.segment``."""
        check_subject(self, srgb, subject)
        try:
            return find_people(srgb, subject.box, self._people, self._held, seed)
        except NoSubject:
            return find_person(srgb, subject.box, seed)


class SuppliedMask(WeightlessBackend):
    """The mask that is given; nothing is found in the picture itself."""

    reads: frozenset[SubjectKind] = frozenset({"mask"})

    def segment(self, srgb: FloatImage, subject: Subject, seed: int = 0) -> SubjectMatte:
        """See ``Segmenter.segment``; the given mask with a hard outline.

        Raises:
            BackendContractError: no mask is given.
        """
        check_subject(self, srgb, subject)
        if subject.mask is None:
            raise BackendContractError("the mask backend takes the mask from a file beside the image")
        return SubjectMatte(subject.mask.astype(np.float32), subject.mask, 1.0, "supplied")
