"""Removes the object from its own photo, once for all scenes that use it as background; keeps the shadow separately."""

from __future__ import annotations

import math

import cv2
import numpy as np

from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.pictures import (
    bytes_from_unit,
    linear_from_bytes,
    one_thread_each,
    read_rgb,
    read_rgba,
    unit_from_bytes,
)
from scenewright_stages.reference.params import ReferenceObjectParams
from scenewright_stages.vision.imaging.archives import save_arrays
from scenewright_stages.vision.imaging.inpainting.completion import complete
from scenewright_stages.vision.imaging.regions import bounding_box
from scenewright_stages.vision.subjects.scenery.cast_shadow import cast_shadow, light_left
from scenewright_stages.vision.types import Uint8Array

USE = BackendUse("inpaint", "classic", notes="The photo was filled where the object and its shadow were.")
_GROWN = 0.03
"""Of the object's longer side: so far beyond the outline, on both sides together, its own colours reach."""
_ROOM = 1.0
"""How much of the photo around the object is looked at, as a share of the object's longer side: its shadow lies within
half of that, and the ground beside it is what the place of the object is filled with.
"""


class BackdropStage(Stage[ReferenceObjectParams]):
    """Removes the object from the photo."""

    def __init__(self, context: StageContext[ReferenceObjectParams]) -> None:
        super().__init__(context)
        one_thread_each()

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes the photo without object and shadow, and the shadow as the share of light that it leaves."""
        photo, cut = read_rgb(inputs.path("white", "photo")), read_rgba(inputs.path("white", "cutout"))[1]
        window, reach = _around(cut)
        shown, inside = np.ascontiguousarray(photo[window]), (cut[window] > 0).astype(np.uint8)
        thing = cv2.dilate(inside, np.ones((reach, reach), np.uint8)) > 0
        linear = linear_from_bytes(shown)
        shadow = cast_shadow(linear, thing)
        filled = bytes_from_unit(complete(unit_from_bytes(shown), thing | shadow, seed=inputs.seed))
        empty, left = photo.copy(), np.ones(cut.shape, np.float32)
        empty[window] = filled
        left[window] = light_left(linear, linear_from_bytes(filled), shadow, thing)
        light = inputs.workspace / "light.npz"
        save_arrays(light, {"left": left})
        metrics = {
            "filled": round(float((thing | shadow).sum() / cut.size), 5),
            "shadow": round(float(shadow.sum() / cut.size), 5),
        }
        return StageResult({"empty": Pixels(empty), "light": light}, metrics, (), [USE])


def _around(cut: Uint8Array) -> tuple[tuple[slice, slice], int]:
    """Rows and columns around the object, all of them if it fills the photo, and the width of its grown outline."""
    left, top, right, bottom = bounding_box(cut > 0)
    side = max(right - left, bottom - top)
    room = math.ceil(_ROOM * side)
    rows, columns = slice(max(0, top - room), bottom + room), slice(max(0, left - room), right + room)
    return (rows, columns), max(5, round(_GROWN * side)) | 1
