"""Step 1: cuts the object out of its photo and puts it on plain white."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from scenewright_stages.backends.edit.interface import EDIT, Editor
from scenewright_stages.backends.runtime.chain import BackendChain
from scenewright_stages.backends.segment.interface import SEGMENT, Box, Segmenter, Subject, SubjectPoint, subject_of
from scenewright_stages.contract.errors import SampleError, SampleRejected
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Made, Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.compositing import composite, plain_background, split_layers
from scenewright_stages.photographs.pictures import (
    Photograph,
    bytes_from_unit,
    one_thread_each,
    read_photograph,
    with_alpha,
    write_json,
)
from scenewright_stages.reference.listing import class_name
from scenewright_stages.reference.params import ReferenceObjectParams, painting_options
from scenewright_stages.vision.imaging.matting import NoSubject, refine_matte
from scenewright_stages.vision.imaging.regions import overlap
from scenewright_stages.vision.subjects.cutting import cut_by_box, cut_from_border, touches_border
from scenewright_stages.vision.subjects.scenery.standing import Base, base_of
from scenewright_stages.vision.types import Float32Array, Mask, Uint8Array

NO_CLEAR_OBJECT = "no-clear-object"
_FULL = 0.98
_LEAST_PIXELS = 64
_SOFT_LEVELS = (5, 250)
"""A supplied mask with values between these is a matte already."""


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
    """

    pixels: Uint8Array
    alpha: Float32Array
    found: str
    score: float
    use: BackendUse


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
        if backend == "qwen-edit":
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
        notes = list(photo.notes)
        if self._editor is not None:
            shown, exemplar_facts = _exemplar(inputs, photo, cut)
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
        alpha, found, score, use = self._matte(sample, inputs, photo)
        return _Cut(photo.pixels, alpha, found, score, use)

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
        radius = round(inputs.params.white.matte_radius * max(inside.shape))
        alpha = refine_matte(painted, inside, max(radius, 1))
        return _Cut(bytes_from_unit(painted), alpha, "painted", score, use)

    def _matte(
        self, sample: Sample, inputs: StageInputs[ReferenceObjectParams], photo: Photograph
    ) -> tuple[Float32Array, str, float, BackendUse]:
        """The matte, its basis, its score, and the backend that made it."""
        height, width = photo.srgb.shape[:2]
        block = inputs.params.white
        radius = round(block.matte_radius * max(height, width))
        path = inputs.find(INPUT, "mask")
        if path is not None:
            mask = read_object_mask(path, (height, width))
            return _softened(photo.srgb, mask, radius), "mask", 1.0, _use("mask")
        box, points = _places(sample, width, height)
        if self._segmenter is not None:
            name = class_name(sample.attributes["class"], sample.attributes["title"], inputs.params.object_name)
            return self._segmented(photo.srgb, self._subject(photo.srgb, name, box, points), self._segmenter)
        if box is not None:
            cut, found = cut_by_box(photo.srgb, box, [(each.x, each.y, each.inside) for each in points]), "box"
            if not cut.any():
                raise _nothing_clear()
            return refine_matte(photo.srgb, cut, max(radius, 1)), found, 1.0, _use(found)
        cut, score = self._standing_out(photo.srgb)
        return refine_matte(photo.srgb, cut, max(radius, 1)), "border", score, _use("border")

    def _subject(self, srgb: Float32Array, name: str, box: Box | None, points: tuple[SubjectPoint, ...]) -> Subject:
        """The prompt for a model: the name for a text-prompted model, otherwise the object's location."""
        if self.params.white.backend == "sam3":
            return Subject(name, box=box)
        if box is None and not points:
            return subject_of(self._standing_out(srgb)[0])
        return Subject(box=box, points=points)

    def _segmented(
        self, srgb: Float32Array, subject: Subject, segmenter: BackendChain[Segmenter]
    ) -> tuple[Float32Array, str, float, BackendUse]:
        try:
            found, use = segmenter.call(lambda backend: backend.segment(srgb, subject))
        except NoSubject as nothing:
            raise SampleRejected(NO_CLEAR_OBJECT, nothing.message) from nothing
        return found.alpha, found.method, found.score, replace(use, capability="cutout")

    def _standing_out(self, srgb: Float32Array) -> tuple[Mask, float]:
        """The single object on a plain background. Raises SampleRejected if there is none."""
        cut, score = cut_from_border(srgb)
        if score < self.params.white.minimum_score or not cut.any():
            raise _nothing_clear()
        return cut, score


def _exemplar(
    inputs: StageInputs[ReferenceObjectParams], photo: Photograph, cut: _Cut
) -> tuple[Uint8Array, dict[str, Any]]:
    """(H, W, 4) RGBA exemplar of the object for locating it later, and metadata.

    It is the photo with its own mask or, without a mask, the painted object.
    """
    path = inputs.find(INPUT, "mask")
    if path is None:
        return with_alpha(cut.pixels, bytes_from_unit(cut.alpha)), {"exemplar_from": "white"}
    mask = read_object_mask(path, photo.srgb.shape[:2])
    radius = round(inputs.params.white.matte_radius * max(mask.shape))
    alpha = bytes_from_unit(_softened(photo.srgb, mask, radius))
    shared = round(overlap(cut.alpha >= 0.5, mask >= 128), 4)
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
    "mask": "The mask was supplied beside the photo.",
    "box": "Cut out of a box by colour (GrabCut).",
    "border": "Cut out because it stands out from a plain border.",
}


def read_object_mask(path: Path, shape: tuple[int, int]) -> Uint8Array:
    """(H, W) uint8 of a supplied mask.

    Raises:
        SampleError: it cannot be read, has the wrong size, or is empty or full.
    """
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise SampleError("MaskUnreadable", f"{path.name} cannot be read as an image")
    if pixels.ndim == 3:
        pixels = pixels[..., 3] if pixels.shape[2] == 4 else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    if pixels.shape != shape:
        found, wanted = pixels.shape[::-1], shape[::-1]
        raise SampleError("MaskSizeDiffers", f"{path.name} has {found} pixels, the upright photo {wanted}")
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=255 / 65535)
    if pixels.max(initial=0) <= 1:
        # Class masks contain 0 and 1.
        pixels = pixels * 255
    share = float((pixels >= 128).mean())
    if not (pixels >= 128).any():
        raise SampleError("MaskEmpty", f"{path.name} marks nothing; white is the object, black is the rest")
    if share > _FULL:
        raise SampleError("MaskFull", f"{path.name} marks {share:.0%} of the photo; black is what is not the object")
    return np.ascontiguousarray(pixels, np.uint8)


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


def _softened(srgb: Float32Array, mask: Uint8Array, radius: int) -> Float32Array:
    """The mask as a soft matte; unchanged if it is soft already."""
    low, high = _SOFT_LEVELS
    soft = int(np.count_nonzero(cv2.inRange(mask, low, high))) > 0
    if soft or radius < 1:
        return mask.astype(np.float32) / np.float32(255)
    return refine_matte(srgb, mask >= 128, radius)


def _ground_contact(inside: Mask, pitch: float | None) -> Base:
    """Estimates the object's base for a pitch in degrees, or for the most likely pitch if None."""
    found = base_of(inside, pitch)
    return base_of(inside, _TYPICAL_PITCH) if pitch is None and found.pitch <= _FLAT_OUTLINE else found
