"""First stage of scaffolds with gaps: generates every other view, then one or more candidates for each view between.

All cameras share one centre, so a view between two others contains the outer quarter of each exactly; only its middle
is generated. Candidates of a gap differ in guidance and seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from scenewright_stages.backends.inpaint.interface import INPAINT, FillGuide, Inpainter
from scenewright_stages.backends.runtime.loading import ModelContext, load
from scenewright_stages.backends.text_to_image.interface import TEXT_TO_IMAGE, TextToImage
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import SOURCE, Sample
from scenewright_stages.contract.stage import Made, Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.scenes.video import contact_sheet
from scenewright_stages.vision.imaging.colour import uint8_from_unit
from scenewright_stages.vision.places.worlds.gaps import seen_between
from scenewright_stages.vision.places.worlds.motions import VIEWS, view_camera
from scenewright_stages.vision.types import Float32Array, Uint8Array
from scenewright_stages.worldexplorer.drawing import drawn_turn, load_generator
from scenewright_stages.worldexplorer.listing import brings_views
from scenewright_stages.worldexplorer.params import GapParams, ScaffoldParams, WorldExplorerParams
from scenewright_stages.worldexplorer.photograph import read_photograph, resized
from scenewright_stages.worldexplorer.prompts import drawing_prompts

_DRAWING_OPTIONS = {"flux": {"steps", "guidance", "precision"}, "flux2-klein": {"precision"}}
_THUMBNAIL, _JPEG_QUALITY = 144, 90


class CandidatesStage(Stage[WorldExplorerParams]):
    """Generates views 000, 002, 004 and 006, and candidates for 001, 003, 005 and 007."""

    def __init__(self, context: StageContext[WorldExplorerParams]) -> None:
        super().__init__(context)
        block, models = self.params.scaffold, context.models
        self._inpainter: Inpainter = load(
            INPAINT, block.gaps.backend, ModelContext.from_settings(models, options=_fill_options(block.gaps))
        )
        self._drawer: TextToImage | None = None
        self._generator = None
        if block.method == "scaffoldGen":
            options = block.flux.model_dump(include=_DRAWING_OPTIONS[block.flux.backend])
            self._drawer = load(TEXT_TO_IMAGE, block.flux.backend, ModelContext.from_settings(models, options=options))
        else:
            self._generator = load_generator(block.backend, block.seva, models)

    def process(self, sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> StageResult:
        """Writes the generated views, the candidates and their contact sheet; nothing if the input brings its views.

        Raises:
            SampleError: a prompt is missing, or the photograph cannot be used.
        """
        block = inputs.params.scaffold
        if brings_views(sample):
            return StageResult({})
        views = self._turned(inputs) if self._drawer is None else self._from_texts(self._drawer, inputs)
        pictures = list(self._candidates(views, inputs))
        outputs: dict[str, Made] = {
            "views": [Pixels(uint8_from_unit(view)) for view in views],
            "pictures": [Pixels(picture) for picture in pictures],
        }
        if block.mode != "fast":
            outputs["sheet"] = inputs.workspace / "candidates.jpg"
            write_sheet(pictures, block.gaps.seeds, inputs.workspace / "candidates.jpg")
        used = [each.record.use() for each in (self._inpainter, self._drawer, self._generator) if each is not None]
        return StageResult(outputs, metrics={"candidates": len(pictures)}, backends=used)

    def _turned(self, inputs: StageInputs[WorldExplorerParams]) -> list[Float32Array]:
        """Every other view of SEVA's rotation in place."""
        assert self._generator is not None
        block = inputs.params.scaffold
        views = drawn_turn(
            self._generator, [read_photograph(inputs)], block, inputs.seed, lambda done: self.context.progress(done, "")
        )
        return views[::2]

    def _from_texts(self, drawer: TextToImage, inputs: StageInputs[WorldExplorerParams]) -> list[Float32Array]:
        """Four views from prompts; a photograph becomes the first view, with its missing parts filled."""
        block = inputs.params.scaffold
        prompts = drawing_prompts(block)
        views: list[Float32Array] = []
        if inputs.find(INPUT, SOURCE) is not None:
            seen, shown = read_photograph(inputs).placed(block.size)
            views.append(self._inpainter.fill(seen, ~shown, prompts[0], inputs.seed))
        for number in range(len(views), len(prompts)):
            self.context.progress(number / 8, f"view {2 * number}")
            views.append(resized(drawer.draw(prompts[number], block.size, inputs.seed + number), block.size))
        return views

    def _candidates(
        self, views: Sequence[Float32Array], inputs: StageInputs[WorldExplorerParams]
    ) -> Iterator[Uint8Array]:
        """The candidates of each gap in turn."""
        block = inputs.params.scaffold
        settings = list(fill_settings(block))
        cameras = [view_camera(view, block.size) for view in range(VIEWS)]
        for gap in range(len(views)):
            beside = (gap, (gap + 1) % len(views))
            known, hole = seen_between(
                [views[each] for each in beside], [cameras[2 * each] for each in beside], cameras[2 * gap + 1]
            )
            for at, (guidance, seed) in enumerate(settings):
                done = (gap + at / len(settings)) / len(views)
                self.context.progress(0.5 + done / 2, f"view {2 * gap + 1}, candidate {at + 1} of {len(settings)}")
                guide = FillGuide(guidance=guidance)
                filled = self._inpainter.fill(known, hole, block.gaps.prompt, inputs.seed + seed, guide)
                yield uint8_from_unit(filled)


def fill_settings(block: ScaffoldParams) -> Iterator[tuple[float, int]]:
    """Guidance and seed of each candidate for a gap."""
    if block.mode == "fast":
        yield block.gaps.guidance, 0
        return
    guidances = [0.0] if block.gaps.backend == "classic" else block.gaps.guidances
    yield from ((guidance, seed) for guidance in guidances for seed in range(block.gaps.seeds))


def write_sheet(pictures: Sequence[Uint8Array], columns: int, path: Path) -> None:
    """Writes a numbered contact sheet of all candidates as JPEG: one row per guidance, one column per seed."""
    labelled: list[Uint8Array] = []
    for number, picture in enumerate(pictures):
        small = np.asarray(cv2.resize(picture, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA), np.uint8)
        for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 1)):
            cv2.putText(small, str(number), (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.55, colour, width, cv2.LINE_AA)
        labelled.append(small)
    sheet = contact_sheet(labelled, columns)
    _, data = cv2.imencode(".jpg", sheet[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
    path.write_bytes(data.tobytes())


def _fill_options(block: GapParams) -> dict[str, Any]:
    """Options of the backend that fills gaps."""
    options: dict[str, Any] = {"steps": block.steps} if block.steps else {}
    if block.backend == "classic":
        return {}
    return {**options, "negative": block.negative} if block.backend == "sd2-inpaint" else options
