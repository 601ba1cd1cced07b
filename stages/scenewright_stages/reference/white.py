"""Step 1: cuts the object out of its photo and puts it on plain white."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from scenewright_stages.backends.edit.interface import EDIT, Editor
from scenewright_stages.backends.runtime.chain import BackendChain
from scenewright_stages.backends.segment.interface import SEGMENT, Box, Segmenter, Subject, SubjectPoint, subject_of
from scenewright_stages.contract.errors import SampleError, SampleRejected
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Made, Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.compositing import composite, plain_background, split_layers
from scenewright_stages.photographs.masks import mask_of_transparency, matte_around, matte_of_mask, read_mask
from scenewright_stages.photographs.pictures import (
    Photograph,
    bytes_from_unit,
    one_thread_each,
    read_photograph,
    with_alpha,
    write_json,
)
from scenewright_stages.reference.listing import class_name
from scenewright_stages.reference.params import EDITORS, ReferenceObjectParams, painting_options
from scenewright_stages.vision.imaging.masks import MaskCover, MaskReading
from scenewright_stages.vision.imaging.matting import NoSubject
from scenewright_stages.vision.imaging.regions import overlap
from scenewright_stages.vision.subjects.cutting import cut_by_box, cut_from_border, reduction, touches_border
from scenewright_stages.vision.subjects.scenery.standing import Base, base_of
from scenewright_stages.vision.types import Float32Array, Mask, Uint8Array

NO_CLEAR_OBJECT = "no-clear-object"
_LEAST_PIXELS = 64

_INSTRUCTION = "{name} with white background, while maintaining object's features and shape"
"""Instruction for the editor, in the words of the script that this pipeline replaces."""
_SAME_SHAPE = 0.8
"""Overlap with the supplied mask below which a warning says that the painted object differs."""


@dataclass(frozen=True, eq=False)
class _Cut:
    """The cut-out object.

    Attributes:
        pixels: (H, W, 3) uint8 of the source image.
        alpha: (H, W) float32.
        found: what the cut is based on.
        score: confidence.
        use: the backend that made it.
        notes: for the user.
    """

    pixels: Uint8Array
    alpha: Float32Array
    found: str
    score: float
    use: BackendUse
    notes: tuple[str, ...] = ()


_FLAT_OUTLINE, _TYPICAL_PITCH = 10.0, 16.0
"""Degrees. A lower outline this flat is that of a straight edge as often as that of something seen from the side. Then
the pitch at which product photos are usually taken is the better guess.
"""


class WhiteStage(Stage[ReferenceObjectParams]):
    """Cuts the object out."""

    def __init__(self, context: StageContext[ReferenceObjectParams]) -> None:
        super().__init__(context)
        one_thread_each()
        backend, block = self.params.white.backend, self.params.white
        self._segmenter: BackendChain[Segmenter] | None = None
        self._editor: BackendChain[Editor] | None = None
        chosen = ((backend,), context.models)
        if backend in EDITORS:
            self._editor = BackendChain(EDIT, *chosen, painting_options(block), block.variant, block.revision)
        elif backend != "classic":
            options = {"precision": block.precision or None, "threshold": block.minimum_score}
            self._segmenter = BackendChain(SEGMENT, *chosen, options, block.variant, block.revision)

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes the object on white, the cut-out, its mask, and metadata.

        Raises:
            SampleRejected: there is no hint and no object stands out (reason ``no-clear-object``).
            SampleError: the photo or its mask is unusable.
        """
        photo = read_photograph(inputs.source)
        cut = self._cut(sample, inputs, photo)
        matte = bytes_from_unit(cut.alpha)
        inside = matte >= 128
        _check_cut(inside)
        layers = split_layers(cut.pixels, matte)
        white = composite(layers.whole, plain_background(cut.pixels.shape, 255), matte)
        base = _ground_contact(inside, inputs.params.white.camera_pitch)
        facts: dict[str, Any] = {
            "mask_from": cut.found,
            "score": round(cut.score, 4),
            "area": round(float(inside.mean()), 5),
            "width": int(inside.shape[1]),
            "height": int(inside.shape[0]),
            "edge_error": layers.edge_error,
            "base": {name: round(value, 3) for name, value in asdict(base).items()},
        }
        outputs: dict[str, Made] = {
            "white": Pixels(white),
            "photo": Pixels(photo.pixels, photo.png),
            "cutout": Pixels(with_alpha(layers.whole, matte)),
            "mask": Pixels(inside.astype(np.uint8) * np.uint8(255)),
        }
        notes = [*photo.notes, *cut.notes]
        if self._editor is not None:
            shown, exemplar_facts = _exemplar(sample, inputs, photo, cut)
            outputs["exemplar"] = Pixels(shown)
            facts |= exemplar_facts
            if exemplar_facts.get("overlap", 1.0) < _SAME_SHAPE:
                notes.append(
                    f"the painted object covers its own mask by {exemplar_facts['overlap']:.0%} only: look at it"
                )
        outputs["facts"] = write_json(inputs.workspace / "white.json", facts)
        return StageResult(outputs, facts, notes, [cut.use])

    def _cut(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams], photo: Photograph) -> _Cut:
        if self._editor is not None:
            return self._painted(sample, inputs, photo, self._editor)
        return self._matte(sample, inputs, photo)

    def _painted(
        self,
        sample: Sample,
        inputs: StageInputs[ReferenceObjectParams],
        photo: Photograph,
        editor: BackendChain[Editor],
    ) -> _Cut:
        """Has a model paint the object on white, and cuts it out of that image.

        Raises:
            SampleRejected: nothing stands out clearly in the painted image.
        """
        name = class_name(sample.attributes["class"], sample.attributes["title"], inputs.params.object_name)
        instruction = _INSTRUCTION.format(name=name)
        painted, use = editor.call(lambda backend: backend.edit(photo.srgb, instruction, inputs.seed))
        inside, score = self._standing_out(painted)
        alpha = matte_around(painted, inside, inputs.params.white.matte_radius)
        return _Cut(bytes_from_unit(painted), alpha, "painted", score, use)

    def _matte(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams], photo: Photograph) -> _Cut:
        """The object cut out of the photo itself: by its mask, its box, a model, or because it stands out."""
        height, width = photo.srgb.shape[:2]
        share = inputs.params.white.matte_radius
        if (mask := supplied_mask(sample, inputs, photo)) is not None:
            matte = matte_of_mask(photo.srgb, mask, share)
            return _Cut(photo.pixels, matte.alpha, "mask", 1.0, _use("mask"), (*mask.notes, *matte.notes))
        box, points = _places(sample, width, height)
        if self._segmenter is not None:
            name = class_name(sample.attributes["class"], sample.attributes["title"], inputs.params.object_name)
            return self._segmented(photo, self._subject(photo.srgb, name, box, points), self._segmenter)
        if box is not None:
            cut, found, score = (
                cut_by_box(photo.srgb, box, [(each.x, each.y, each.inside) for each in points]),
                "box",
                1.0,
            )
            if not cut.any():
                raise _nothing_clear()
        else:
            (cut, score), found = self._standing_out(photo.srgb), "border"
        # The cut was found on a reduced copy, so its outline is off by a few pixels of it.
        least = round(reduction(photo.srgb))
        return _Cut(photo.pixels, matte_around(photo.srgb, cut, share, least), found, score, _use(found))

    def _subject(self, srgb: Float32Array, name: str, box: Box | None, points: tuple[SubjectPoint, ...]) -> Subject:
        """The prompt for a model: the name for a text-prompted model, otherwise the object's location."""
        if self.params.white.backend == "sam3":
            return Subject(name, box=box)
        if box is None and not points:
            return subject_of(self._standing_out(srgb)[0])
        return Subject(box=box, points=points)

    def _segmented(self, photo: Photograph, subject: Subject, segmenter: BackendChain[Segmenter]) -> _Cut:
        try:
            found, use = segmenter.call(lambda backend: backend.segment(photo.srgb, subject))
        except NoSubject as nothing:
            raise SampleRejected(NO_CLEAR_OBJECT, nothing.message) from nothing
        return _Cut(photo.pixels, found.alpha, found.method, found.score, replace(use, capability="cutout"))

    def _standing_out(self, srgb: Float32Array) -> tuple[Mask, float]:
        """The single object on a plain background. Raises SampleRejected if there is none."""
        cut, score = cut_from_border(srgb)
        if score < self.params.white.minimum_score or not cut.any():
            raise _nothing_clear()
        return cut, score


def supplied_mask(sample: Sample, inputs: StageInputs[ReferenceObjectParams], photo: Photograph) -> MaskCover | None:
    """The mask beside the photo, or else the photo's own transparency; None if there is neither."""
    block = inputs.params.white
    reading = MaskReading(
        sample.attributes.get("mask_polarity", block.mask_polarity),
        sample.attributes.get("mask_class", block.mask_class),
    )
    path = inputs.find(INPUT, "mask")
    return mask_of_transparency(photo, reading) if path is None else read_mask(path, photo, reading)


def _exemplar(
    sample: Sample, inputs: StageInputs[ReferenceObjectParams], photo: Photograph, cut: _Cut
) -> tuple[Uint8Array, dict[str, Any]]:
    """(H, W, 4) RGBA exemplar of the object for locating it later, and metadata.

    It is the photo with its own mask or, without a mask, the painted object.
    """
    mask = supplied_mask(sample, inputs, photo)
    if mask is None:
        return with_alpha(cut.pixels, bytes_from_unit(cut.alpha)), {"exemplar_from": "white"}
    alpha = bytes_from_unit(matte_of_mask(photo.srgb, mask, inputs.params.white.matte_radius).alpha)
    shared = round(overlap(cut.alpha >= 0.5, mask.cover >= 128), 4)
    return with_alpha(photo.pixels, alpha), {"exemplar_from": "photo", "overlap": shared}


def _places(sample: Sample, width: int, height: int) -> tuple[Box | None, tuple[SubjectPoint, ...]]:
    """Box and points of the object from its list, in pixels."""
    shares, points = sample.attributes.get("box"), sample.attributes.get("points") or []
    box = (shares[0] * width, shares[1] * height, shares[2] * width, shares[3] * height) if shares else None
    return box, tuple(SubjectPoint(x * width, y * height, not rest or bool(rest[0])) for x, y, *rest in points)


def _nothing_clear() -> SampleRejected:
    return SampleRejected(
        NO_CLEAR_OBJECT,
        "nothing stands out clearly from a plain background; put <name>.mask.png beside the photo, or name a "
        "box in a list",
    )


def _use(found: str) -> BackendUse:
    return BackendUse("cutout", "mask" if found == "mask" else "classic", notes=_NOTES[found])


_NOTES = {
    "mask": "The mask was supplied beside the photo, or as its transparency.",
    "box": "Cut out of a box by colour (GrabCut).",
    "border": "Cut out because it stands out from a plain border.",
}


def _check_cut(inside: Mask) -> None:
    """Refuses a cut-out that cannot be used in another scene.

    Raises:
        SampleError: almost nothing is left, or the photo's border cuts the object off.
    """
    if int(inside.sum()) < _LEAST_PIXELS:
        raise SampleError("ObjectTooSmall", f"the object has {int(inside.sum())} pixels, at least {_LEAST_PIXELS}")
    if touches_border(inside):
        raise SampleError(
            "ObjectCutOff", "the border of the photo cuts the object off; use a photo that shows it whole"
        )


def _ground_contact(inside: Mask, pitch: float | None) -> Base:
    """Estimates the object's base for a pitch in degrees, or for the most likely pitch if None."""
    found = base_of(inside, pitch)
    return base_of(inside, _TYPICAL_PITCH) if pitch is None and found.pitch <= _FLAT_OUTLINE else found
