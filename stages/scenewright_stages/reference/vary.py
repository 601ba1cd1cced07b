"""Step 5: varies the weather and light of scenes; every variation is annotated separately."""

from __future__ import annotations

import shutil
from importlib import resources

import numpy as np

from scenewright_stages.backends.edit.interface import EDIT, Editor
from scenewright_stages.backends.runtime.chain import BackendChain
from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.pictures import bytes_from_unit, one_thread_each, read_rgb, unit_from_bytes
from scenewright_stages.reference.params import VARIATIONS, ReferenceObjectParams, painting_options
from scenewright_stages.reference.weather import in_weather

USE = BackendUse("vary", "classic", notes="Weather and light were laid over the finished image.")
OWN_LINES = "qwen_edit_augmentations.txt"


class VaryStage(Stage[ReferenceObjectParams]):
    """Varies scenes."""

    def __init__(self, context: StageContext[ReferenceObjectParams]) -> None:
        super().__init__(context)
        one_thread_each()
        block = self.params.vary
        self._editor: BackendChain[Editor] | None = None
        if block.backend != "classic":
            self._editor = BackendChain(
                EDIT, (block.backend,), context.models, painting_options(block), block.variant, block.revision
            )

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes a variation; the first one is the scene itself.

        Raises:
            ConfigurationError: the user's file is empty.
        """
        source = inputs.path("scenes", "image")
        if sample.attributes["variation"] == 0:
            copied = inputs.workspace / "original.png"
            shutil.copyfile(source, copied)
            return StageResult({"combined": copied}, {"weather": "none"})
        scene, rng = unit_from_bytes(read_rgb(source)), np.random.default_rng([inputs.seed, 5])
        if self._editor is not None:
            lines = lines_of(inputs)
            line = lines[rng.integers(len(lines))]
            painted, use = self._editor.call(lambda backend: backend.edit(scene, line, inputs.seed))
            made = Pixels(bytes_from_unit(painted))
            return StageResult({"combined": made, "varied": made}, {"weather": line}, (), [use])
        weathers = inputs.params.vary.weathers
        weather = weathers[rng.integers(len(weathers))]
        made = Pixels(bytes_from_unit(in_weather(scene, weather, inputs.seed)))
        return StageResult({"combined": made, "varied": made}, {"weather": weather}, (), [USE])


def lines_of(inputs: StageInputs[ReferenceObjectParams]) -> list[str]:
    """Instructions for the editor: the lines of the user's file, or the built-in ones.

    Raises:
        ConfigurationError: the user's file is empty or not text.
    """
    path = inputs.named.get(VARIATIONS)
    if path is None:
        text = (resources.files(__package__) / "texts" / OWN_LINES).read_text(encoding="utf-8")
    else:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            text = ""
    found = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    if not found:
        remedy = "must be text in UTF-8 with one instruction in each line"
        raise ConfigurationError("spec.referenceObject.vary.file", inputs.params.vary.file, remedy)
    return found
