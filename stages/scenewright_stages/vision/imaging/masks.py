"""Decides what the values of a supplied mask mean: which pixels are the object, or which of them count.

People bring masks as alpha channels, greys, palettes, class numbers, 16 bits, floats and JPEGs, upright or inverted.
Every one of them becomes coverage of 0 to 255, or is refused with what was found in it. Nothing is guessed: where two
readings are possible, data sets have to say `maskPolarity` or `maskClass`. In captures black, or 0, is left out by
convention, so nothing is inverted there, and all or nothing may be marked.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.vision.imaging.regions import bounding_box
from scenewright_stages.vision.types import Mask, Uint8Array

Polarity = Literal["auto", "white", "black"]
SAY_HOW = "say what is the object with maskPolarity (white or black) or maskClass (its number)"
SAVE_HOW = "save it black where the photograph does not count and white elsewhere"
MASK_EMPTY = "MaskEmpty"
"""Reason of a mask that marks nothing. Callers that allow a picture without its object make it a rejection."""
VOID = 255
"""In a mask of class numbers: a pixel that belongs to no class, drawn along outlines."""
_VOID_LINE = 7
"""Pixels that a line of void is wide at most around small objects; data sets draw five."""
_LARGEST_CLASS = 64
"""Values up to this are class numbers if nothing but void lies above them: no grey mask is that dark."""
_LEAST_SHARE = 0.001
"""Of the picture: smaller areas of one value say nothing about what the values mean."""
_LEAST_PIXELS = 64
_CONTRAST = 32
_LOSSY_CONTRAST, _LOSSY_NOISE = 96, 48
_FEW = 8
"""Values up to which a mask holds what somebody chose, not shades."""
_MOST_SHADES = 0.4
"""Largest share of a matte that is neither object nor background over an area; a photograph has more."""


@dataclass(frozen=True)
class MaskReading:
    """How a mask shall be read.

    Attributes:
        polarity: whether the object is what is white or what is black; auto: as is plausible.
        number: value of the object in a mask of class numbers; None if there is only one class.
        whole: whether the object lies within the picture, as products do; a person is cut off at the bottom.
        leaves_out: whether the mask says which pixels count, as those of captures do, and not what the object is.
    """

    polarity: Polarity = "auto"
    number: int | None = None
    whole: bool = True
    leaves_out: bool = False

    @property
    def remedy(self) -> str:
        """What a user can do about a mask that cannot be told."""
        return SAVE_HOW if self.leaves_out else SAY_HOW


WHAT_COUNTS = MaskReading(leaves_out=True)
"""How the masks of captures are read."""


@dataclass(frozen=True, eq=False)
class MaskPlane:
    """The values of a mask file.

    Attributes:
        name: of the file, for messages.
        values: (H, W) of any number type.
        kind: what the values are; the colours of a palette do not matter for `index`.
        lossy: whether the format changes values, as JPEG does.
    """

    name: str
    values: NDArray[Any]
    kind: Literal["grey", "index", "alpha"]
    lossy: bool = False

    def of(self, values: NDArray[Any]) -> MaskPlane:
        """The same plane with other values, such as turned ones."""
        return replace(self, values=values)

    @property
    def white(self) -> int:
        """The largest level that values of this type can have."""
        return 65535 if self.values.dtype == np.uint16 else 255


@dataclass(frozen=True, eq=False)
class MaskCover:
    """The object as a mask shows it.

    Attributes:
        cover: (H, W) uint8; 255 is the object, or counts; 0 is the rest.
        soft: whether it is a matte already: some pixels belong to both.
        notes: how the mask was read, where that is not obvious.
    """

    cover: Uint8Array
    soft: bool
    notes: tuple[str, ...] = field(default=())


def cover_of(plane: MaskPlane, reading: MaskReading) -> MaskCover:
    """The coverage of the object, or of what counts.

    Raises:
        SampleError: nothing or everything is the object (``MaskEmpty``, ``MaskFull``), the class is not there
            (``MaskClassMissing``), or it cannot be told what the object is or what counts (``MaskUnclear``).
    """
    try:
        return _counted(plane) if reading.leaves_out else _object(plane, reading)
    except _UnclearError as problem:
        raise SampleError("MaskUnclear", f"{plane.name}: {problem}; {reading.remedy}") from problem


class _UnclearError(Exception):
    """What was found in a mask that can be read in several ways."""


def _counted(plane: MaskPlane) -> MaskCover:
    """What counts in a mask that leaves out what is black, or 0."""
    values = _integers(plane)
    plane = plane.of(values)
    least, found = int(values.min()), np.unique(values)
    if len(found) == 1 or (plane.lossy and least >= plane.white - _LOSSY_NOISE):
        return MaskCover(_bytes(values > 0), soft=False)
    classes = plane.kind == "index" or (plane.kind == "grey" and not plane.lossy and _are_classes(found))
    if classes and (len(found) > 2 or (least > 0 and int(found[1]) < VOID)):
        return _counted_classes(plane, values, found)
    if least > plane.white / 2:
        raise _UnclearError(f"its values go from {least} to {found[-1]} of {plane.white}: none of them is black")
    if len(found) == 2:
        return MaskCover(_bytes(values == found[1]), soft=False)
    cover, _ = _shades(plane, values, found)
    return MaskCover(cover, soft=True)


def _counted_classes(plane: MaskPlane, values: NDArray[Any], found: NDArray[Any]) -> MaskCover:
    """What counts in a mask of class numbers: every class but 0.

    Raises:
        _UnclearError: no pixel has class 0, or areas of 255 are no class and no outline.
    """
    numbers = [int(each) for each in found if 0 < each < VOID]
    if found[0] != 0:
        raise _UnclearError(f"it holds {_listed(values)}, and no pixel is 0, which is what masks leave out")
    if plane.kind == "grey" and len(numbers) > _FEW and 2 * len(_areas(values, found)) < len(found):
        raise _UnclearError(f"its values go from 0 to {found[-1]}, and most of them cover no area")
    void = VOID in found and bool(numbers)
    if void and not _is_void(values):
        raise _UnclearError(f"it holds {_listed(values)}: areas of 255 beside class numbers")
    inside = (values != 0) & ~(void & (values == VOID))
    notes: tuple[str, ...] = ()
    if len(numbers) > 1:
        notes = (f"{plane.name}: classes {', '.join(map(str, numbers[:_FEW]))} count, and 0 does not",)
    return MaskCover(_bytes(_without_void(inside, values == VOID) if void else inside), False, notes)


def _object(plane: MaskPlane, reading: MaskReading) -> MaskCover:
    """The coverage of the object; see `cover_of`."""
    values = _integers(plane)
    if reading.number is not None:
        return _checked(plane, _of_class(plane, values, reading.number), ())
    found = np.unique(values)
    if len(found) == 1:
        raise _uniform(plane, int(found[0]))
    notes: tuple[str, ...] = ()
    if len(found) == 2:
        notes = () if int(found[1]) in (1, 255, 65535) else (f"{plane.name}: the object has the value {found[1]}",)
        cover = _bytes(values == found[1])
    elif plane.kind == "index" or (plane.kind == "grey" and not plane.lossy and _are_classes(found)):
        cover, notes = _single_class(plane, values, found)
    else:
        cover, notes = _shades(plane, values, found)
    if _is_inverted(plane, cover >= 128, reading):
        cover, notes = _bytes_inverted(cover), (*notes, *_said_inverted(plane, reading))
    return _checked(plane, cover, notes)


def _integers(plane: MaskPlane) -> NDArray[Any]:
    """The values as integers; floats from 0 to 1 become 0 to 255.

    Raises:
        SampleError: the values have no defined white.
    """
    values = plane.values
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all():
            raise _UnclearError("it holds values that are not finite")
        if values.min() >= 0 and values.max() <= 1:
            return np.asarray(np.rint(values * 255), np.uint8)
        values = np.asarray(np.rint(values), np.int64) if (values == np.rint(values)).all() else values
    if np.issubdtype(values.dtype, np.floating) or values.min() < 0 or values.max() > 65535:
        raise _UnclearError(f"its values go from {values.min():g} to {values.max():g}: which of them is white?")
    return values.astype(np.uint8 if values.max() <= 255 else np.uint16)


def _are_classes(found: NDArray[Any]) -> bool:
    """Whether these are class numbers: small ones, with or without void."""
    return int(found[found != VOID].max(initial=0)) <= _LARGEST_CLASS


def _of_class(plane: MaskPlane, values: NDArray[Any], number: int) -> Uint8Array:
    inside = values == number
    if not inside.any():
        held = _listed(values)
        raise SampleError("MaskClassMissing", f"{plane.name} holds no pixel of class {number}; it holds {held}")
    if plane.lossy:
        raise _UnclearError("class numbers do not survive its lossy format: save it as PNG")
    void = (values == VOID) & (number != VOID)
    return _bytes(_without_void(inside, void) if _is_void(values) else inside)


def _single_class(plane: MaskPlane, values: NDArray[Any], found: NDArray[Any]) -> tuple[Uint8Array, tuple[str, ...]]:
    """The only class of a mask of class numbers.

    Raises:
        SampleError: it has several.
    """
    void = VOID in found and _is_void(values)
    classes = [int(each) for each in found if each and not (void and each == VOID)]
    if len(classes) != 1:
        raise _UnclearError(f"it holds {len(classes)} classes: {_listed(values)}")
    inside = values == classes[0]
    if not void:
        return _bytes(inside), ()
    note = f"{plane.name}: class {classes[0]}; 255 along its outline counts as the nearer side"
    return _bytes(_without_void(inside, values == VOID)), (note,)


def _is_void(values: NDArray[Any]) -> bool:
    """Whether 255 is a thin line along outlines, as data sets for segmentation draw it."""
    lines = (values == VOID).astype(np.uint8)
    left, top, right, bottom = bounding_box(values > 0)
    widest = max(_VOID_LINE, round(0.03 * max(right - left, bottom - top))) | 1
    return int(cv2.erode(lines, np.ones((widest, widest), np.uint8)).sum()) < 0.02 * max(int(lines.sum()), 1)


def _without_void(inside: Mask, void: Mask) -> Mask:
    """The class, with each void pixel given to the nearer of the class and the rest."""
    known_inside, known_outside = inside & ~void, ~inside & ~void
    near, far = (
        cv2.distanceTransform((~each).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for each in (known_inside, known_outside)
    )
    return np.asarray(known_inside | (void & (near < far)))


def _shades(plane: MaskPlane, values: NDArray[Any], found: NDArray[Any]) -> tuple[Uint8Array, tuple[str, ...]]:
    """A mask with soft edges, or one that a lossy format blurred.

    Raises:
        SampleError: it has more than two levels, or the shades of a photograph.
    """
    if plane.kind == "alpha":
        return _scaled(values, 0, plane.of(values).white), ()
    noise = _LOSSY_NOISE if plane.lossy else 4
    if not plane.lossy and len(found) <= _FEW and len(numbers := _areas(values, found[found <= _LARGEST_CLASS])) > 1:
        raise _UnclearError(f"areas have the class numbers {', '.join(map(str, numbers))}, beside {found[-1]}")
    levels = _plateaus(values, found, noise)
    if len(levels) > 2:
        raise _UnclearError(f"large areas have the values {', '.join(map(str, levels))}")
    white = plane.of(values).white
    low, high = int(found[0]), int(found[-1])
    if levels:
        low, high = (levels[0], levels[-1]) if len(levels) == 2 else _beside(levels[0], low, high)
    least = (_LOSSY_CONTRAST if plane.lossy else _CONTRAST) * white / 255
    if high - low < least or (len(levels) < 2 and high - low < 0.75 * white):
        raise _UnclearError(f"its values go from {found[0]} to {found[-1]} of {white}, with no clear object")
    between = (np.abs(values.astype(np.int32) - low) > noise) & (np.abs(values.astype(np.int32) - high) > noise)
    wide = float(cv2.erode(between.astype(np.uint8), np.ones((5, 5), np.uint8)).mean())
    if wide > (_MOST_SHADES if len(levels) == 2 and not plane.lossy else 0.01):
        raise _UnclearError(f"shades of grey cover {wide:.0%} of it, as in a photograph")
    cover = _scaled(values, low, high)
    notes = () if (low, high) == (0, white) or plane.lossy else (f"{plane.name}: the object has the value {high}",)
    return (_snapped(cover) if plane.lossy else cover), notes


def _areas(values: NDArray[Any], found: NDArray[Any]) -> list[int]:
    """Those of some values that cover areas."""
    least, kernel = max(_LEAST_PIXELS, _LEAST_SHARE * values.size), np.ones((3, 3), np.uint8)
    return [int(each) for each in found if int(cv2.erode((values == each).astype(np.uint8), kernel).sum()) >= least]


def _beside(level: int, low: int, high: int) -> tuple[int, int]:
    """The two levels of a mask of which only one covers an area, as with an object of thin lines."""
    return (level, high) if level - low < high - level else (low, level)


def _plateaus(values: NDArray[Any], found: NDArray[Any], noise: int) -> list[int]:
    """The values, ascending, that cover areas and not only outlines; close ones count as the most frequent of them."""
    counts = np.bincount(values.reshape(-1))
    left = counts.copy()
    levels: list[int] = []
    for _ in range(8):
        level = int(left.argmax())
        if not left[level]:
            break
        near = slice(max(0, level - noise), level + noise + 1)
        area = (values >= near.start) & (values < near.stop)
        solid = int(cv2.erode(area.astype(np.uint8), np.ones((3, 3), np.uint8)).sum())
        if solid >= max(_LEAST_PIXELS, _LEAST_SHARE * values.size) and solid >= 0.3 * int(area.sum()):
            levels.append(level)
        left[near] = 0
    return sorted(levels)


def _scaled(values: NDArray[Any], low: int, high: int) -> Uint8Array:
    """0 at the low value and 255 at the high one."""
    if (low, high) == (0, 255) and values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    scaled = (values.astype(np.float32) - low) * np.float32(255 / (high - low))
    return np.ascontiguousarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _snapped(cover: Uint8Array) -> Uint8Array:
    """Without the noise of a lossy format; without shades too, unless they are wider than that format blurs."""
    inside = cover >= 128
    signed = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 3) + cv2.distanceTransform(
        (~inside).astype(np.uint8), cv2.DIST_L2, 3
    )
    quiet = (cover <= _LOSSY_NOISE) | (cover >= 255 - _LOSSY_NOISE)
    snapped = np.where(quiet & (signed > 3), _bytes(inside), cover)
    wide = (snapped > 5) & (snapped < 250) & (signed > 4)
    return np.asarray(snapped, np.uint8) if wide.mean() > 0.002 else _bytes(inside)


def _is_inverted(plane: MaskPlane, inside: Mask, reading: MaskReading) -> bool:
    """Whether what is marked is the surroundings: it lies where the object cannot be.

    Raises:
        SampleError: either could be the object.
    """
    if reading.polarity != "auto":
        return reading.polarity == "black"
    top, bottom = float(inside[0].mean()), float(inside[-1].mean())
    sides = np.concatenate([inside[:, 0], inside[:, -1]])
    if reading.whole:
        length = inside.shape[1] * 2 + inside.shape[0] * 2
        around = float((inside[0].sum() + inside[-1].sum() + sides.sum()) / length)
        rest = int((~inside).sum())
        if around >= 0.98 and rest >= _LEAST_PIXELS:
            return True
        if around < 0.5 or rest < _LEAST_PIXELS:
            return False
        raise _UnclearError(f"what it marks covers {around:.0%} of the picture's border, and the rest has a part too")
    third = max(1, inside.shape[0] // 3)
    upper = float(np.concatenate([inside[0], inside[:third, 0], inside[:third, -1]]).mean())
    rest_share = float((~inside).mean())
    if upper >= 0.6 and (bottom <= upper - 0.1 or (min(upper, bottom, top) >= 0.98 and rest_share >= 0.02)):
        return True
    if upper < 0.4 or bottom > upper:
        return False
    raise _UnclearError(f"what it marks covers {upper:.0%} of the upper border and {bottom:.0%} of the lower one")


def _said_inverted(plane: MaskPlane, reading: MaskReading) -> tuple[str, ...]:
    if reading.polarity == "black":
        return ()
    return (f"{plane.name} is read inverted, with a dark object: what it marks surrounds the rest",)


def _checked(plane: MaskPlane, cover: Uint8Array, notes: tuple[str, ...]) -> MaskCover:
    """The cover; raises SampleError if nothing, or all, is the object."""
    inside = int((cover >= 128).sum())
    if not inside:
        raise SampleError(MASK_EMPTY, f"{plane.name} marks nothing; white is the object, black is the rest")
    if cover.size - inside < min(_LEAST_PIXELS, 0.02 * cover.size):
        raise SampleError("MaskFull", f"{plane.name} marks the whole photo; black is what is not the object")
    soft = bool(((cover >= 5) & (cover <= 250)).any())
    return MaskCover(cover, soft, (*notes, *_said_specks(plane, cover >= 128)))


def _said_specks(plane: MaskPlane, inside: Mask) -> tuple[str, ...]:
    """A note about parts that are so small that nobody drew them on purpose."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    specks = areas[areas < min(_LEAST_PIXELS, 0.001 * areas.sum())]
    if not len(specks):
        return ()
    return (f"{plane.name} marks {len(specks)} specks of {int(specks.sum())} pixels together: they count as object",)


def _uniform(plane: MaskPlane, value: int) -> SampleError:
    if value == 0:
        return SampleError(MASK_EMPTY, f"{plane.name} marks nothing; white is the object, black is the rest")
    return SampleError("MaskFull", f"{plane.name} has the value {value} everywhere; black is what is not the object")


def _listed(values: NDArray[Any]) -> str:
    """The values and their shares, most frequent first."""
    found, counts = np.unique(values, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:8]
    more = ", ..." if len(found) > len(order) else ""
    return ", ".join(f"{found[at]} ({counts[at] / values.size:.1%})" for at in order) + more


def _bytes(inside: NDArray[Any]) -> Uint8Array:
    return np.asarray(inside.astype(np.uint8) * np.uint8(255), np.uint8)


def _bytes_inverted(cover: Uint8Array) -> Uint8Array:
    return np.asarray(np.uint8(255) - cover, np.uint8)
