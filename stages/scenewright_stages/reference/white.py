"""Step 1: the object, cut out of its photo, on plain white."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

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
from scenewright_stages.reference.params import ReferenceObjectParams
from scenewright_stages.vision.cutting import cut_by_box, cut_from_border, touches_border
from scenewright_stages.vision.matting import refine_matte
from scenewright_stages.vision.scenery.standing import base_of

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

NO_CLEAR_OBJECT = "no-clear-object"
_FULL = 0.98
_LEAST_PIXELS = 64
_SOFT_LEVELS = (5, 250)
"""A supplied mask with values between these is a matte already."""


class WhiteStage(Stage[ReferenceObjectParams]):
    """Cuts the object out."""

    def __init__(self, context: StageContext[ReferenceObjectParams]) -> None:
        super().__init__(context)
        one_thread_each()

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes the object on white, the cut-out, its mask, and what is known of them.

        Raises:
            SampleRejected: nothing says what the object is and none stands out (reason ``no-clear-object``).
            SampleError: the photo or its mask cannot be used.
        """
        photo = read_photograph(inputs.source)
        alpha, found, score = self._matte(sample, inputs, photo)
        matte = bytes_from_unit(alpha)
        inside = matte >= 128
        _check_cut(inside)
        layers = split_layers(photo.pixels, matte)
        white = composite(layers.whole, plain_background(photo.pixels.shape, 255), matte)
        base = base_of(inside, inputs.params.white.camera_pitch)
        facts: dict[str, Any] = {
            "mask_from": found,
            "score": round(score, 4),
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
            "facts": write_json(inputs.workspace / "white.json", facts),
        }
        use = BackendUse("cutout", "mask" if found == "mask" else "classic", notes=_NOTES[found])
        return StageResult(outputs, facts, photo.notes, [use])

    def _matte(
        self, sample: Sample, inputs: StageInputs[ReferenceObjectParams], photo: Photograph
    ) -> tuple[Floats, str, float]:
        """The matte, what it follows from, and how sure that is."""
        height, width = photo.srgb.shape[:2]
        block = inputs.params.white
        radius = round(block.matte_radius * max(height, width))
        path = inputs.find(INPUT, "mask")
        if path is not None:
            mask = read_object_mask(path, (height, width))
            return _softened(photo.srgb, mask, radius), "mask", 1.0
        box, points = sample.attributes.get("box"), sample.attributes.get("points") or []
        if box:
            left, top, right, bottom = box
            places = [(x * width, y * height, not rest or bool(rest[0])) for x, y, *rest in points]
            cut = cut_by_box(photo.srgb, (left * width, top * height, right * width, bottom * height), places)
            found, score = "box", 1.0
        else:
            cut, score = cut_from_border(photo.srgb)
            found = "border"
        if score < block.minimum_score or not cut.any():
            raise SampleRejected(
                NO_CLEAR_OBJECT,
                "nothing stands out clearly from a plain background; put <name>.mask.png beside the photo, or name a "
                "box in a list",
            )
        return refine_matte(photo.srgb, cut, max(radius, 1)), found, score


_NOTES = {
    "mask": "The mask was supplied beside the photo.",
    "box": "Cut out of a box by colour (GrabCut).",
    "border": "Cut out because it stands out from a plain border.",
}


def read_object_mask(path: Path, shape: tuple[int, int]) -> Bytes:
    """(H, W) uint8 of a supplied mask.

    Raises:
        SampleError: it cannot be read, has another size, or is empty or full.
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
        # Class masks hold 0 and 1.
        pixels = pixels * 255
    share = float((pixels >= 128).mean())
    if not (pixels >= 128).any():
        raise SampleError("MaskEmpty", f"{path.name} marks nothing; white is the object, black is the rest")
    if share > _FULL:
        raise SampleError("MaskFull", f"{path.name} marks {share:.0%} of the photo; black is what is not the object")
    return np.ascontiguousarray(pixels, np.uint8)


def _check_cut(inside: Mask) -> None:
    """Refuse what cannot be put into another scene.

    Raises:
        SampleError: next to nothing is left, or the border of the photo cuts the object off.
    """
    if int(inside.sum()) < _LEAST_PIXELS:
        raise SampleError("ObjectTooSmall", f"the object has {int(inside.sum())} pixels, at least {_LEAST_PIXELS}")
    if touches_border(inside):
        raise SampleError(
            "ObjectCutOff", "the border of the photo cuts the object off; use a photo that shows it whole"
        )


def _softened(srgb: Floats, mask: Bytes, radius: int) -> Floats:
    """The mask as a matte: as it is when it is soft already."""
    low, high = _SOFT_LEVELS
    soft = int(np.count_nonzero(cv2.inRange(mask, low, high))) > 0
    if soft or radius < 1:
        return mask.astype(np.float32) / np.float32(255)
    return refine_matte(srgb, mask >= 128, radius)
