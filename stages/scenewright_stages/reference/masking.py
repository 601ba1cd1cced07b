"""Makes the mask of a single photo from a box and points, given as options or on a web page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scenewright_stages.backends.runtime.chain import BackendChain
from scenewright_stages.backends.segment.interface import SEGMENT, Box, Segmenter, Subject, SubjectPoint, subject_of
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.stage import ModelSettings
from scenewright_stages.photographs.pictures import Photograph
from scenewright_stages.reference.files import write_png
from scenewright_stages.reference.params import WhiteParams
from scenewright_stages.vision.subjects.cutting import cut_by_box, cut_from_border
from scenewright_stages.vision.types import Mask


class UnclearError(ValueError):
    """The hints do not determine what to cut out; the message says what to add."""


@dataclass(frozen=True)
class Hints:
    """Box and points on the object, in pixels of the upright photo."""

    box: Box | None = None
    points: tuple[SubjectPoint, ...] = ()


class MaskMaker:
    """Cuts out the object of one photo, repeatedly as the hints change.

    Args:
        photo: the loaded photograph.
        backend: ``classic`` or ``sam2``.

    Raises:
        ConfigurationError: the backend is not available.
    """

    def __init__(self, photo: Photograph, backend: str) -> None:
        self.photo = photo
        self._segmenter: BackendChain[Segmenter] | None = None
        if backend != "classic":
            self._segmenter = BackendChain(SEGMENT, (backend,), ModelSettings(), {"threshold": 0.0})

    def mask(self, hints: Hints) -> Mask:
        """(H, W) bool.

        Raises:
            UnclearError: there is no box and the object does not stand out, or nothing was found.
        """
        if self._segmenter is not None:
            found = self._segmented(self._segmenter, hints)
        elif hints.box is not None:
            found = cut_by_box(self.photo.srgb, hints.box, [(each.x, each.y, each.inside) for each in hints.points])
        elif hints.points:
            raise UnclearError("points alone are too little: draw a box too, or use --backend sam2")
        else:
            found = self._standing_out()
        if not found.any():
            raise UnclearError("nothing was found there: move the box or add points")
        return found

    def _segmented(self, segmenter: BackendChain[Segmenter], hints: Hints) -> Mask:
        subject = Subject(box=hints.box, points=hints.points)
        if not subject.given:
            subject = subject_of(self._standing_out())
        try:
            return segmenter.call(lambda backend: backend.segment(self.photo.srgb, subject))[0].mask
        except (SampleError, ValueError) as nothing:
            raise UnclearError(str(nothing)) from nothing

    def _standing_out(self) -> Mask:
        cut, score = cut_from_border(self.photo.srgb)
        if score < WhiteParams().minimum_score:
            raise UnclearError("no object stands out from a plain background: draw a box around it (--box)")
        return cut


def numbers_of(text: str, count: int, size: tuple[int, int]) -> list[float]:
    """Parses ``a,b,...`` into pixels; if all numbers are at most 1, they are fractions of width and height.

    Args:
        text: as typed.
        count: expected number of values.
        size: width and height of the photo.

    Raises:
        UnclearError: the text is malformed.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != count:
        raise UnclearError(f"{text!r} must be {count} numbers with commas between them")
    if all(0 <= value <= 1 for value in values):
        values = [value * size[number % 2] for number, value in enumerate(values)]
    if not all(0 <= value <= size[number % 2] for number, value in enumerate(values)):
        raise UnclearError(f"{text!r} lies outside the photo of {size[0]}x{size[1]} pixels")
    return values


def hints_of(box: str, inside: Sequence[str], beside: Sequence[str], size: tuple[int, int]) -> Hints:
    """Parses the hints as typed. Raises UnclearError."""
    found: Box | None = None
    if box:
        left, top, right, bottom = numbers_of(box, 4, size)
        if not (left < right and top < bottom):
            raise UnclearError(f"{box!r} must be left,top,right,bottom")
        found = (left, top, right, bottom)
    points = []
    for text, kind in [*((text, True) for text in inside), *((text, False) for text in beside)]:
        x, y = numbers_of(text, 2, size)
        points.append(SubjectPoint(x, y, kind))
    return Hints(found, tuple(points))


def save_mask(mask: Mask, target: Path) -> None:
    """Writes a mask in the pipeline's format: 255 on the object."""
    write_png(target, mask.astype(np.uint8) * np.uint8(255))


def target_of(photo: Path) -> Path:
    """Where the pipeline looks for a photo's mask."""
    return photo.with_name(f"{photo.stem}.mask.png")
