"""Step 5: the scenes in other weather and light, images only; each is annotated by itself."""

from __future__ import annotations

import shutil

import numpy as np

from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.pictures import bytes_from_unit, one_thread_each, read_rgb, unit_from_bytes
from scenewright_stages.reference.params import ReferenceObjectParams
from scenewright_stages.vision.weather import in_weather

USE = BackendUse("vary", "classic", notes="Weather and light were laid over the finished image.")


class VaryStage(Stage[ReferenceObjectParams]):
    """Varies scenes."""

    def __init__(self, context: StageContext[ReferenceObjectParams]) -> None:
        super().__init__(context)
        one_thread_each()

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes a variation, or the scene itself as the first of them."""
        source = inputs.path("scenes", "image")
        if sample.attributes["variation"] == 0:
            copied = inputs.workspace / "original.png"
            shutil.copyfile(source, copied)
            return StageResult({"combined": copied}, {"weather": "none"})
        weathers = inputs.params.vary.weathers
        weather = weathers[np.random.default_rng([inputs.seed, 5]).integers(len(weathers))]
        made = Pixels(bytes_from_unit(in_weather(unit_from_bytes(read_rgb(source)), weather, inputs.seed)))
        return StageResult({"combined": made, "varied": made}, {"weather": weather}, (), [USE])
