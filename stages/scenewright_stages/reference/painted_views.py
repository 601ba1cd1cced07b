"""Step 2 by a model: paints the object from other sides, and cuts it out of each image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from scenewright_stages.backends.object_views.interface import OBJECT_VIEWS, Camera, ViewPainter
from scenewright_stages.backends.runtime.chain import BackendChain
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.compositing import composite, plain_background, split_layers
from scenewright_stages.photographs.masks import matte_around
from scenewright_stages.photographs.pictures import (
    bytes_from_unit,
    one_thread_each,
    read_rgba,
    unit_from_bytes,
    with_alpha,
)
from scenewright_stages.reference.family import View, views
from scenewright_stages.reference.files import write_cutout, write_png
from scenewright_stages.reference.params import ReferenceObjectParams
from scenewright_stages.vision.subjects.cutting import cut_from_border
from scenewright_stages.vision.subjects.scenery.standing import base_of
from scenewright_stages.vision.types import Float32Array, Uint8Array

_ROOM = 0.15
"""Between the object and the border of the square that a model sees, as a share of the object's longer side."""
_LARGEST = 1024
_ATTEMPTS = 3
_CLEAR = 0.3
"""How clearly a painted object must stand out from its background."""
_MATTE = 0.008
"""Width of the soft edge, as a share of the object's longer side."""


class PaintedViewsStage(Stage[ReferenceObjectParams]):
    """Paints the object from other sides."""

    def __init__(self, context: StageContext[ReferenceObjectParams]) -> None:
        super().__init__(context)
        one_thread_each()
        block = self.params.perspectives
        self._painter: BackendChain[ViewPainter] = BackendChain(
            OBJECT_VIEWS, (block.backend,), context.models, block.options(), block.variant, block.revision
        )

    def process(self, sample: Sample, inputs: StageInputs[ReferenceObjectParams]) -> StageResult:
        """Writes every view on white, and as a cut-out with the metadata that scenes need.

        Raises:
            SampleError: an object does not stand out from the painted background (``ViewUnclear``).
        """
        srgb, alpha = squared(*read_rgba(inputs.path("white", "cutout")))
        shown, cutouts = inputs.workspace / "views", inputs.workspace / "cutouts"
        shown.mkdir()
        cutouts.mkdir()
        made = views(inputs.params)
        found, use = self._painted(srgb, alpha, made, inputs.seed)
        facts: list[dict[str, Any]] = []
        for view, (pixels, matte, score) in zip(made, found, strict=True):
            layers = split_layers(pixels, matte)
            write_png(shown / view.file, composite(layers.whole, plain_background(pixels.shape, 255), matte))
            stand = base_of(matte >= 128, float(np.clip(view.elevation, 4, 80)))
            write_cutout(cutouts / view.part, with_alpha(layers.whole, matte), stand)
            facts.append(
                {
                    "file": view.file,
                    "yaw": view.yaw,
                    "elevation": view.elevation,
                    "distance": view.distance,
                    "pseudo": False,
                    "score": round(score, 4),
                }
            )
        return StageResult({"views": shown, "cutouts": cutouts}, {"views": facts}, (), [use])

    def _painted(
        self, srgb: Float32Array, alpha: Float32Array, wanted: Sequence[View], seed: int
    ) -> tuple[list[tuple[Uint8Array, Uint8Array, float]], BackendUse]:
        """Pixels, matte and score of each view. A view that cannot be cut out is painted again with other noise."""
        found: dict[int, tuple[Uint8Array, Uint8Array, float]] = {}
        for attempt in range(_ATTEMPTS):
            missing = [view for view in wanted if view.number not in found]
            cameras = [Camera(view.yaw % 360, view.elevation, view.distance) for view in missing]

            def paint(
                painter: ViewPainter, cameras: Sequence[Camera] = cameras, attempt: int = attempt
            ) -> list[Float32Array]:
                return painter.views(
                    srgb, alpha, cameras, seed + attempt, lambda ready: self._report_progress(ready, wanted)
                )

            pictures, use = self._painter.call(paint)
            for view, picture in zip(missing, pictures, strict=True):
                if (cut := cut_view(picture)) is not None:
                    found[view.number] = cut
            if len(found) == len(wanted):
                return [found[view.number] for view in wanted], use
        lacking = ", ".join(view.file for view in wanted if view.number not in found)
        raise SampleError(
            "ViewUnclear",
            f"nothing stands out from the background of {lacking}; leave these cameras out, or use other weights",
        )

    def _report_progress(self, ready: int, wanted: Sequence[View]) -> None:
        self.context.progress(min(ready, len(wanted)) / len(wanted), f"{ready} views painted")


def squared(colours: Uint8Array, matte: Uint8Array) -> tuple[Float32Array, Float32Array]:
    """(S, S, 3) and (S, S) float32 of a cut-out centred in a square with a margin."""
    rows, columns = np.flatnonzero(matte.any(axis=1)), np.flatnonzero(matte.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    height, width = int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left
    side = round((1 + 2 * _ROOM) * max(height, width)) + 8
    above, before = (side - height) // 2, (side - width) // 2
    pads = ((above, side - height - above), (before, side - width - before))
    inside = (slice(top, top + height), slice(left, left + width))
    alpha = np.pad(unit_from_bytes(matte[inside]), pads)
    srgb = np.pad(unit_from_bytes(colours[inside]), (*pads, (0, 0)), mode="edge")
    if side > _LARGEST:
        alpha = cv2.resize(alpha, (_LARGEST, _LARGEST), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        srgb = cv2.resize(srgb, (_LARGEST, _LARGEST), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return np.asarray(srgb, np.float32), np.asarray(alpha, np.float32)


def cut_view(picture: Float32Array) -> tuple[Uint8Array, Uint8Array, float] | None:
    """Pixels, matte and score of the single object in a painted image; None if none stands out."""
    inside, score = cut_from_border(picture)
    if score < _CLEAR or not inside.any():
        return None
    matte = bytes_from_unit(matte_around(picture, inside, _MATTE))
    return (bytes_from_unit(picture), matte, score) if (matte >= 128).any() else None
