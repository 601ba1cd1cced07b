"""Steps of the pipeline on one object, in this process: what tests need that look at many scenes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import SOURCE, Sample
from scenewright_stages.contract.stage import Pixels, StageContext, StageInputs, StageResult
from scenewright_stages.reference.family import scene_children
from scenewright_stages.reference.files import write_png
from scenewright_stages.reference.params import ReferenceObjectParams
from scenewright_stages.reference.pipeline import stages

Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Files = dict[tuple[str, str], Any]


@dataclass(frozen=True, eq=False)
class Scene:
    """One image of step 4: (H, W, 3) uint8, its exact mask, and its facts."""

    image: Bytes
    mask: Mask
    facts: dict[str, Any]


class Steps:
    """Runs steps 1 to 4 of one object.

    Args:
        folder: for the files between the steps.
        photo: (H, W, 3) uint8.
        mask: (H, W) bool of the object.
        block: parameters as in a manifest.
        seed: of all draws.
    """

    def __init__(self, folder: Path, photo: Bytes, mask: Mask, block: dict[str, Any], seed: int = 0) -> None:
        self.folder, self.seed = folder, seed
        self._drawing: Any = None
        self.params = ReferenceObjectParams.model_validate(block)
        self.sample = Sample("thing", attributes={"class": "", "title": "thing", "roster": [["", "thing"]], "home": ""})
        source, drawn = folder / "thing.png", folder / "thing.mask.png"
        write_png(source, photo)
        write_png(drawn, mask.astype(np.uint8) * np.uint8(255))
        self.files: Files = {(INPUT, SOURCE): source, (INPUT, "mask"): drawn}
        for name in ("white", "perspectives", "prompts"):
            self._keep(name, self.run(name, self.stage_class(name), self.sample))

    def scenes(self, numbers: Sequence[int] | None = None) -> Iterator[Scene]:
        """The scenes in their order, or those of some numbers."""
        children = scene_children(self.params, self.sample)
        for number in range(len(children)) if numbers is None else numbers:
            yield self.scene(children[number].attributes)

    def scene(self, attributes: dict[str, Any]) -> Scene:
        """The scene of a child."""
        sample = Sample(f"thing/{attributes['file']}", attributes={**self.sample.attributes, **attributes})
        files = dict(self.files)
        files["perspectives", "cutouts"] = self.files["perspectives", "cutouts"] / attributes["view_part"]
        files["prompts", "fields"] = self.files["prompts", "fields"] / attributes["prompt_file"]
        workspace = self.folder / attributes["file"]
        workspace.mkdir(exist_ok=True)
        made = self._scenes().process(sample, StageInputs(files, self.params, self.seed, workspace))
        image, mask = made.outputs["image"], made.outputs["mask"]
        assert isinstance(image, Pixels) and isinstance(mask, Pixels)
        return Scene(image.values, mask.values > 127, dict(made.metrics))

    def stage_class(self, name: str) -> Any:
        """The class that runs a stage, as the pipeline declares it."""
        return resolve_name(self.context(name).stage.implementation)

    def run(self, name: str, stage: Any, sample: Sample, files: Files | None = None) -> StageResult:
        """What a stage makes of a sample."""
        workspace = self.folder / name
        workspace.mkdir(exist_ok=True)
        inputs = StageInputs(files or self.files, self.params, self.seed, workspace)
        result: StageResult = stage(self.context(name)).process(sample, inputs)
        return result

    def _scenes(self) -> Any:
        if self._drawing is None:
            self._drawing = self.stage_class("scenes")(self.context("scenes"))
        return self._drawing

    def context(self, name: str) -> StageContext[ReferenceObjectParams]:
        """What a stage is constructed with."""
        return StageContext(next(each for each in stages(self.params) if each.name == name), self.params)

    def _keep(self, name: str, result: StageResult) -> None:
        for output, made in result.outputs.items():
            if isinstance(made, Pixels):
                path = self.folder / f"{name}-{output}.png"
                write_png(path, made.values)
                made = path  # noqa: PLW2901 - from here on a file
            self.files[name, output] = made


def reduced(picture: NDArray[Any], side: int) -> NDArray[Any]:
    """A square picture at another size."""
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA))
