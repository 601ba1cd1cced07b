"""Interface of segmentation backends, which return a subject's soft matte, and the backends without weights.

The subject is given by a text, by positive and negative points, by a box, or by a rough mask. A backend declares which
prompts it supports and refuses others, because silently ignoring a prompt would give the matte of something else.
Images are float32 sRGB in [0, 1], shape (H, W, 3). Calls may come from several threads at once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from scenewright_stages.backends.runtime.bundled import BundledModels
from scenewright_stages.backends.runtime.capability import Backend, Capability
from scenewright_stages.backends.runtime.errors import BackendContractError, UnsupportedSubject
from scenewright_stages.backends.runtime.loading import LoadRequest, WeightlessBackend
from scenewright_stages.vision.imaging.matting import NoSubject, SubjectMatte, refine_matte
from scenewright_stages.vision.imaging.regions import bounding_box, innermost
from scenewright_stages.vision.subjects.people import find_person
from scenewright_stages.vision.subjects.people.learned import find_people
from scenewright_stages.vision.types import Float32Array, Mask

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""
SubjectKind = Literal["text", "points", "box", "mask"]

_ROOM = 0.03  # around a mask in its box, as a share of the box
_LEAST_SHARE = 0.002  # of the picture: less is no subject


@dataclass(frozen=True)
class SubjectPoint:
    """A positive or negative point, in pixels from the top left corner."""

    x: float
    y: float
    inside: bool = True


@dataclass(frozen=True, eq=False)
class Subject:
    """What to cut out. Prompts are combined: a text and a box mean the text's subject inside the box.

    Attributes:
        text: what it is, such as ``person``; may be empty.
        points: positive and negative points; may be empty.
        box: around it; None for anywhere.
        mask: (H, W) bool, a rough mask, if known.
    """

    text: str = ""
    points: tuple[SubjectPoint, ...] = ()
    box: Box | None = None
    mask: Mask | None = None

    @property
    def given(self) -> list[SubjectKind]:
        """The kinds of prompts given."""
        found: list[tuple[SubjectKind, bool]] = [
            ("text", bool(self.text)),
            ("points", bool(self.points)),
            ("box", self.box is not None),
            ("mask", self.mask is not None),
        ]
        return [kind for kind, is_given in found if is_given]

    def limited_to(self, kinds: Collection[SubjectKind]) -> Subject:
        """The subject with only these kinds of prompts, for stages that treat the others as hints."""
        nothing = Subject()
        return replace(self, **{kind: getattr(nothing, kind) for kind in self.given if kind not in kinds})


def subject_of(mask: Mask) -> Subject:
    """The prompt for refining a mask: a box with a margin, and the innermost point.

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
        """The supported kinds of prompts."""

    def segment(self, srgb: Float32Array, subject: Subject, seed: int = 0) -> SubjectMatte:
        """The subject's matte at full size.

        Args:
            srgb: (H, W, 3) float32 in [0, 1].
            subject: what to cut out; without prompts, the backend's default subject.
            seed: same image, subject and seed give the same matte.

        Raises:
            NoSubject: the subject is not in the image.
            UnsupportedSubject: the backend does not support the prompts; says what to give instead.
            ValueError: the subject lies outside the image.
            BackendContractError: the result is unusable.
        """


SEGMENT = Capability("segment", Segmenter)


def check_subject(segmenter: Segmenter, srgb: Float32Array, subject: Subject) -> None:
    """Refuses unsupported prompts, and prompts outside the image.

    Raises:
        UnsupportedSubject: names the supported prompts.
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


def matte_of(srgb: Float32Array, probability: Float32Array, score: float, method: str, blocks: int) -> SubjectMatte:
    """A matte from a per-pixel probability that a model predicted on a coarser grid.

    Args:
        srgb: (H, W, 3) float32.
        probability: (H, W) float32 in [0, 1], smoothly upsampled.
        score: of the instance.
        method: for the matte's ``method``.
        blocks: pixels of the image per pixel of the model's grid.

    Raises:
        NoSubject: hardly any pixel is likely.
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
    """Finds the person with the clearest face, or the one in a box; supports no other subjects."""

    reads: frozenset[SubjectKind] = frozenset({"box"})

    def segment(self, srgb: Float32Array, subject: Subject, seed: int = 0) -> SubjectMatte:
        """See ``Segmenter.segment``."""
        check_subject(self, srgb, subject)
        return find_person(srgb, subject.box, seed)


class SelfieSegmenter(BundledModels):
    """Cuts out all people if a face is visible; otherwise falls back to the classic search."""

    reads: frozenset[SubjectKind] = frozenset({"box"})

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        self._people = request.context.option("people", "all")
        self._held = bool(request.context.option("held", True))

    def segment(self, srgb: Float32Array, subject: Subject, seed: int = 0) -> SubjectMatte:
        """See ``Segmenter.segment``."""
        check_subject(self, srgb, subject)
        try:
            return find_people(srgb, subject.box, self._people, self._held, seed)
        except NoSubject:
            return find_person(srgb, subject.box, seed)


class SuppliedMask(WeightlessBackend):
    """Returns the given mask, without looking at the image."""

    reads: frozenset[SubjectKind] = frozenset({"mask"})

    def segment(self, srgb: Float32Array, subject: Subject, seed: int = 0) -> SubjectMatte:
        """See ``Segmenter.segment``; the given mask with a hard outline.

        Raises:
            BackendContractError: there is no mask.
        """
        check_subject(self, srgb, subject)
        if subject.mask is None:
            raise BackendContractError("the mask backend takes the mask from a file beside the image")
        return SubjectMatte(subject.mask.astype(np.float32), subject.mask, 1.0, "supplied")
