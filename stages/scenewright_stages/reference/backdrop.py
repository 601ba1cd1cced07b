"""Removes the object from its own photo, once for all scenes that use it as background; keeps the shadow separately."""

from __future__ import annotations

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
from scenewright_stages.vision.subjects.scenery.cast_shadow import cast_shadow, light_left

USE = BackendUse("inpaint", "classic", notes="The photo was filled where the object and its shadow were.")
_GROWN = 0.02
"""Of the photo's longer side: so far beyond the outline the object's own colours reach."""


class BackdropStage(Stage[ReferenceObjectParams]):
    """Removes the object from the photo."""

    def __init__(self, context: StageContext[ReferenceObjectParams]) -> None:
        super().__init__(context)
        one_thread_each()

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes the photo without object and shadow, and the shadow as the share of light that it leaves."""
        photo, cut = read_rgb(inputs.path("white", "photo")), read_rgba(inputs.path("white", "cutout"))[1]
        reach = max(5, round(_GROWN * max(cut.shape))) | 1
        thing = cv2.dilate((cut > 0).astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
        shown = linear_from_bytes(photo)
        shadow = cast_shadow(shown, thing)
        empty = bytes_from_unit(complete(unit_from_bytes(photo), thing | shadow, seed=inputs.seed))
        left = light_left(shown, linear_from_bytes(empty), shadow, thing)
        light = inputs.workspace / "light.npz"
        save_arrays(light, {"left": left})
        metrics = {"filled": round(float((thing | shadow).mean()), 5), "shadow": round(float(shadow.mean()), 5)}
        return StageResult({"empty": Pixels(empty), "light": light}, metrics, (), [USE])
