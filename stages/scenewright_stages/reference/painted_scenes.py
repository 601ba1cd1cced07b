"""Step 4 by a model: an editor paints view and scene from the prompt, a filler paints the scene around the view.

With a filler the view is unchanged and its mask exact; what an editor paints must be located again by annotate.
Scenes without the object are painted too: by the editor from an empty image and the prompt's surroundings, by the
filler by painting over the object of a finished scene.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.edit.interface import EDIT, Editor
from scenewright_stages.backends.inpaint.interface import INPAINT, Inpainter
from scenewright_stages.backends.runtime.chain import BackendChain
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Made, Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.pictures import (
    bytes_from_unit,
    linear_from_unit,
    one_thread_each,
    read_rgb,
    unit_from_bytes,
    write_json,
)
from scenewright_stages.reference.family import surroundings
from scenewright_stages.reference.files import read_cutout
from scenewright_stages.reference.params import ReferenceObjectParams, ScenesParams, painting_options
from scenewright_stages.reference.scenes import box_of, placement
from scenewright_stages.reference.wording import Fields, read_fields, without_object
from scenewright_stages.vision.imaging.colour import srgb_from_linear
from scenewright_stages.vision.subjects.lines import labelled, lines_of, moved, parts_of, refuse_shrunk
from scenewright_stages.vision.subjects.scenery.composition import warped_layer
from scenewright_stages.vision.types import Float32Array

_GROWN = 0.05
"""Of the object's longer side: so far around it its contact shadow is painted over in scenes without it."""
_HALF = 0.5


class EditedScenesStage(Stage[ReferenceObjectParams]):
    """Paints scenes with an image editor."""

    def __init__(self, context: StageContext[ReferenceObjectParams]) -> None:
        super().__init__(context)
        one_thread_each()
        block = self.params.scenes
        self._editor: BackendChain[Editor] = BackendChain(
            EDIT, (block.backend,), context.models, painting_options(block), block.variant, block.revision
        )

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes the image and the scene's metadata; there is no mask, because the editor moves the object freely."""
        fields = read_fields(inputs.path("prompts", "fields").read_text(encoding="utf-8"))
        width, height = inputs.params.scenes.size
        view = unit_from_bytes(read_rgb(inputs.path("perspectives", "views")))
        instruction = fields.text
        if sample.attributes["empty"]:
            view, instruction = np.ones_like(view), without_object(fields)
        seed = _seed(sample, inputs)
        painted, use = self._editor.call(lambda backend: backend.edit(view, instruction, seed, (width, height)))
        metrics = {**_facts(sample, inputs, fields), "instruction": instruction, "width": width, "height": height}
        outputs: dict[str, Made] = {
            "image": Pixels(bytes_from_unit(painted)),
            "facts": write_json(inputs.workspace / "scene.json", metrics),
        }
        return StageResult(outputs, metrics, (), [use])


class FilledScenesStage(Stage[ReferenceObjectParams]):
    """Paints scenes around the object with an inpainting model."""

    def __init__(self, context: StageContext[ReferenceObjectParams]) -> None:
        super().__init__(context)
        one_thread_each()
        block = self.params.scenes
        self._inpainter: BackendChain[Inpainter] = BackendChain(
            INPAINT, (block.backend,), context.models, painting_options(block), block.variant, block.revision
        )

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes the image, the object's mask, and the scene's metadata."""
        fields = read_fields(inputs.path("prompts", "fields").read_text(encoding="utf-8"))
        seed = _seed(sample, inputs)
        rng = np.random.default_rng([inputs.seed, seed])
        srgb, cover, (lines, parts), scale = place_upright(inputs, fields, rng)
        filled, use = self._inpainter.call(lambda backend: backend.fill(srgb, cover < 1, fields.text, seed))
        image = over(srgb, cover, filled)
        if sample.attributes["empty"]:
            hole, instruction = _around(cover), without_object(fields)
            image, use = self._inpainter.call(lambda backend: backend.fill(image, hole, instruction, seed))
            cover = np.zeros_like(cover)
        mask, kept = labelled(cover, cover, lines, parts)
        if not sample.attributes["empty"]:
            refuse_shrunk(kept, "the scene", "make it larger: scenes.size, scenes.objectScale")
        metrics: dict[str, Any] = {
            **_facts(sample, inputs, fields),
            "box": box_of(mask),
            "area": round(float(mask.mean()), 6),
            "width": int(mask.shape[1]),
            "height": int(mask.shape[0]),
            "scale": round(scale, 4),
            "visible": 0.0 if sample.attributes["empty"] else 1.0,
            "seam": "none",
            "decoys": 0,
            "occluders": 0,
        }
        outputs: dict[str, Made] = {
            "image": Pixels(bytes_from_unit(image)),
            "mask": Pixels(mask.astype(np.uint8) * np.uint8(255)),
            "facts": write_json(inputs.workspace / "scene.json", metrics),
        }
        return StageResult(outputs, metrics, (), [use])


def place_upright(
    inputs: StageInputs[ReferenceObjectParams], fields: Fields, rng: np.random.Generator
) -> tuple[Float32Array, Float32Array, tuple[Float32Array, int], float]:
    """(H, W, 3) sRGB and (H, W) coverage of the placed view, its lines there and number of parts, and its scale."""
    pixels, matte, base = read_cutout(inputs.path("perspectives", "cutouts"))
    alpha = unit_from_bytes(matte)
    block: ScenesParams = inputs.params.scenes
    column, row, scale = placement(block, alpha, base, fields, rng)
    move = np.array([[scale, 0, column - scale * base.column], [0, scale, row - scale * base.row]], np.float32)
    srgb, cover = warped_layer(unit_from_bytes(pixels), alpha, move, scale, (block.size[0], block.size[1]))
    # Treat almost opaque pixels as known, so that the filler can continue from them.
    full = np.where(cover > 0.98, np.float32(1), cover).astype(np.float32)
    return srgb, full, (moved(lines_of(alpha >= _HALF), move), parts_of(alpha >= _HALF)), scale


def over(srgb: Float32Array, cover: Float32Array, filled: Float32Array) -> Float32Array:
    """Composites the view over the painted scene, blending its edge in linear light; its inside is unchanged."""
    edge = (cover > 0) & (cover < 1)
    image = filled.copy()
    image[cover == 1] = srgb[cover == 1]
    share = cover[edge][:, None]
    mixed = share * linear_from_unit(srgb[edge]) + (1 - share) * linear_from_unit(filled[edge])
    image[edge] = srgb_from_linear(mixed.astype(np.float32))
    return image


def _around(cover: Float32Array) -> NDArray[np.bool_]:
    """(H, W) bool mask of the object, dilated."""
    inside = (cover > 0).astype(np.uint8)
    box = box_of(inside > 0)
    reach = max(3, round(_GROWN * max(box[2] - box[0], box[3] - box[1])))
    return np.asarray(cv2.dilate(inside, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)) > 0)


def _seed(sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> int:
    """Seed of the scene's noise."""
    return int(np.random.SeedSequence([inputs.seed, sample.attributes["scene_seed"]]).generate_state(1)[0])


def _facts(sample: Sample, inputs: StageInputs[ReferenceObjectParams], fields: Fields) -> dict[str, Any]:
    return {
        "background": "painted",
        "place": surroundings(inputs.params, sample.attributes["prompt"]),
        "prompt": fields.text,
        "surface": fields.surface,
    }
