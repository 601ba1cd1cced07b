"""Step 2: renders the object from several sides, without a model."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.pictures import (
    bytes_from_linear,
    bytes_from_unit,
    linear_from_bytes,
    one_thread_each,
    read_rgba,
    unit_from_bytes,
    with_alpha,
)
from scenewright_stages.reference.family import View, views
from scenewright_stages.reference.files import write_cutout, write_png
from scenewright_stages.reference.params import ReferenceObjectParams
from scenewright_stages.vision.imaging.regions import bounding_box
from scenewright_stages.vision.imaging.resampling import reduced
from scenewright_stages.vision.subjects.lines import refuse_shrunk
from scenewright_stages.vision.subjects.relief import lines_kept, thickness_at, turned
from scenewright_stages.vision.subjects.scenery.standing import base_of
from scenewright_stages.vision.types import Float32Array, Uint8Array

MARGIN = 0.12
"""Room around the object in its views, as a share of its longer side."""
LARGEST = 1600
"""Longer side of the object in its views, pixels; larger photos are reduced, as scenes show the object no larger."""
USE = BackendUse(
    "perspectives",
    "classic",
    notes="A relief inflated from the silhouette was turned; sides that the photo does not show continue the rim's "
    "colours.",
)


class PerspectivesStage(Stage[ReferenceObjectParams]):
    """Rotates the object."""

    def __init__(self, context: StageContext[ReferenceObjectParams]) -> None:
        super().__init__(context)
        one_thread_each()

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes every view on white, and as a cut-out with the metadata that scenes need.

        Raises:
            SampleRejected: a view loses a part of the object (reason ``object-shrinks``).
            SampleError: a view shows nothing (reason ``ViewEmpty``).
        """
        colours, alpha = read_rgba(inputs.path("white", "cutout"))
        base: dict[str, Any] = json.loads(inputs.path("white", "facts").read_text(encoding="utf-8"))["base"]
        linear, cover, reduction = _framed(colours, alpha)
        shown, cutouts = inputs.workspace / "views", inputs.workspace / "cutouts"
        shown.mkdir()
        cutouts.mkdir()
        made = views(inputs.params)
        thickness = thickness_at(base["pitch"])
        for number, view in enumerate(made):
            self.context.progress(number / len(made), view.file)
            front, inside = turned(linear, cover, view.yaw, view.elevation, thickness)
            _check_view(view, inside)
            kept = lines_kept(cover, inside, view.yaw, view.elevation, thickness)
            refuse_shrunk(kept, view.file, "use smaller angles")
            write_png(shown / view.file, _on_white(front, inside))
            matte = bytes_from_unit(inside)
            stand = base_of(matte >= 128, float(np.clip(base["pitch"] + view.elevation, 4, 80)))
            write_cutout(cutouts / view.part, with_alpha(bytes_from_linear(front), matte), stand, reduction)
        facts = [
            {"file": view.file, "yaw": view.yaw, "elevation": view.elevation, "pseudo": view.pseudo} for view in made
        ]
        outputs = {"views": shown, "cutouts": cutouts}
        return StageResult(outputs, {"views": facts}, _warnings(made), [USE])


def _framed(colours: Uint8Array, alpha: Uint8Array) -> tuple[Float32Array, Float32Array, float]:
    """Linear colours and alpha of the object with room to be rotated, and how much smaller they are than the photo."""
    left, top, right, bottom = bounding_box(alpha > 0)
    linear = linear_from_bytes(np.ascontiguousarray(colours[top:bottom, left:right]))
    cover = unit_from_bytes(np.ascontiguousarray(alpha[top:bottom, left:right]))
    reduction = max(1.0, max(cover.shape) / LARGEST)
    if reduction > 1:
        size = (max(1, round(cover.shape[1] / reduction)), max(1, round(cover.shape[0] / reduction)))
        linear, cover = reduced(linear, size), reduced(cover, size)
    room = round(MARGIN * max(cover.shape)) + 4
    pads = ((room, room), (room, room))
    return np.pad(linear, (*pads, (0, 0)), mode="edge"), np.pad(cover, pads), reduction


def _on_white(linear: Float32Array, alpha: Float32Array) -> Uint8Array:
    share = alpha[..., None]
    return bytes_from_linear((share * linear + (1 - share)).astype(np.float32))


def _check_view(view: View, inside: Float32Array) -> None:
    """Refuses an empty view.

    Raises:
        SampleError: the rotation leaves no silhouette (reason ``ViewEmpty``).
    """
    if not (inside >= 0.5).any():
        raise SampleError("ViewEmpty", f"{view.file} shows nothing; use smaller angles")


def _warnings(made: list[View]) -> list[str]:
    pseudo = sum(view.pseudo for view in made)
    return [f"{pseudo} views show sides that the photo does not: their files are named pseudo"] if pseudo else []
