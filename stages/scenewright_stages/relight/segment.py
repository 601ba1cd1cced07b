"""Stage 1: segments the person into a soft matte and foreground colours free of the background."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from scenewright_stages.backends.runtime.chain import BackendChain
from scenewright_stages.backends.segment.interface import SEGMENT, Segmenter, Subject
from scenewright_stages.contract.errors import SampleError, SampleRejected
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.compositing import Layers, background_of, split_layers
from scenewright_stages.photographs.masks import mask_of_transparency, matte_of_mask, read_mask
from scenewright_stages.photographs.pictures import (
    Photograph,
    bytes_from_unit,
    one_thread_each,
    read_photograph,
    with_alpha,
    write_json,
)
from scenewright_stages.relight.params import PairGatesParams, RelightParams
from scenewright_stages.vision.imaging.archives import save_arrays
from scenewright_stages.vision.imaging.masks import MASK_EMPTY, MaskCover, MaskReading
from scenewright_stages.vision.imaging.matting import SubjectMatte
from scenewright_stages.vision.types import Float32Array, Uint8Array

NO_SUBJECT, LOW_SCORE, ROUGH_OUTLINE = "no-subject", "low-score", "rough-outline"
SUPPLIED = BackendUse("segment", "mask", notes="The mask was supplied beside the image.")

Box = tuple[int, int, int, int]


class SegmentStage(Stage[RelightParams]):
    """Segments the person of a photograph."""

    def __init__(self, context: StageContext[RelightParams]) -> None:
        super().__init__(context)
        one_thread_each()
        names = self.params.segmenters()
        self.supplied = names[0] == "mask"
        others = names[1:] if self.supplied else names
        self.chain: BackendChain[Segmenter] | None = None
        if others:
            block = self.params.segmentation
            options = {
                **block.options(),
                "threshold": block.score_threshold,
                "people": block.people,
                "held": block.held,
            }
            self.chain = BackendChain(SEGMENT, others, context.models, options, block.variant)

    def process(self, sample: Sample, inputs: StageInputs[RelightParams]) -> StageResult:
        """Writes the photograph, its foreground and background, matte, mask, and metadata.

        Raises:
            SampleRejected: the image shows no person (reason ``no-subject``) or fails a gate of the spec
                (``low-score``, ``rough-outline``).
            SampleError: the photograph or its supplied mask is unusable.
        """
        photograph = read_photograph(inputs.source)
        person, use, notes = self._find(sample, inputs, photograph)
        area = float(person.alpha.mean())
        if area < max(self.params.segmentation.minimum_area, 1e-6):
            raise SampleRejected(NO_SUBJECT, f"the person covers {area:.2%} of the picture")
        pixels, alpha = photograph.pixels, bytes_from_unit(person.alpha)
        layers = split_layers(pixels, alpha)
        check_gates(self.params.gates, person.score, layers.edge_error)
        facts = {
            **use.to_json(),
            "method": person.method,
            "score": round(person.score, 4),
            "area": round(area, 5),
            "box": _bounding_box(alpha),
            "edge_error": layers.edge_error,
            "width": pixels.shape[1],
            "height": pixels.shape[0],
        }
        outputs = self._outputs(inputs.workspace, Pixels(pixels, photograph.png), layers, alpha, facts)
        metrics = {name: facts[name] for name in ("width", "height", "score", "area", "edge_error", "method")}
        return StageResult(outputs, metrics, (*photograph.notes, *notes), [use])

    def _find(
        self, sample: Sample, inputs: StageInputs[RelightParams], photograph: Photograph
    ) -> tuple[SubjectMatte, BackendUse, tuple[str, ...]]:
        """The person's matte, the backend that made it, and notes for the user."""
        mask = self._supplied_mask(sample, inputs, photograph) if self.supplied else None
        srgb = photograph.srgb
        if mask is not None:
            matte = matte_of_mask(srgb, mask, self.params.segmentation.matte_radius)
            inside = matte.alpha >= self.params.segmentation.threshold
            return SubjectMatte(matte.alpha, inside, 1.0, "supplied"), SUPPLIED, (*mask.notes, *matte.notes)
        if self.chain is None:
            raise SampleError(
                "MaskMissing", "the backend mask needs <name>.mask.png beside the image, or an image with transparency"
            )
        subject = Subject(text=self.params.segmentation.prompt, box=self._box(sample, srgb))
        try:
            # The text is only a hint: a backend without text prompts looks for a person anyway.
            found, use = self.chain.call(
                lambda backend: backend.segment(srgb, subject.limited_to(backend.reads), inputs.seed)
            )
        except SampleError as problem:
            if problem.reason == NO_SUBJECT:
                raise SampleRejected(NO_SUBJECT, problem.message) from problem
            raise
        return found, use, ()

    def _box(self, sample: Sample, srgb: Float32Array) -> Box | None:
        """The box from the listing, or else from the spec, in pixels."""
        shares = sample.attributes.get("box") or self.params.segmentation.box
        if not shares:
            return None
        height, width = srgb.shape[:2]
        if not (
            isinstance(shares, list) and len(shares) == 4 and all(isinstance(each, int | float) for each in shares)
        ):
            raise SampleError("BadEntry", f"box: {shares!r} must be left, top, right, bottom as shares of the picture")
        left, top, right, bottom = (float(share) for share in shares)
        return round(left * width), round(top * height), round(right * width), round(bottom * height)

    def _supplied_mask(
        self, sample: Sample, inputs: StageInputs[RelightParams], photograph: Photograph
    ) -> MaskCover | None:
        """The mask beside the photograph, or else its own transparency."""
        block = self.params.segmentation
        reading = MaskReading(
            sample.attributes.get("mask_polarity", block.mask_polarity),
            sample.attributes.get("mask_class", block.mask_class),
            whole=False,
        )
        path = inputs.find(INPUT, "mask")
        try:
            return mask_of_transparency(photograph, reading) if path is None else read_mask(path, photograph, reading)
        except SampleError as problem:
            if problem.reason == MASK_EMPTY:
                raise SampleRejected(NO_SUBJECT, problem.message) from problem
            raise

    def _outputs(
        self, workspace: Path, photograph: Pixels, layers: Layers, alpha: Uint8Array, facts: dict[str, Any]
    ) -> dict[str, Path | Pixels]:
        person = Pixels(with_alpha(layers.foreground, alpha))
        outline = workspace / "outline.npz"
        save_arrays(outline, {"behind": layers.behind})
        outputs: dict[str, Path | Pixels] = {
            "input": photograph,
            "alpha": Pixels(alpha),
            "foreground": person,
            "layers": Pixels(with_alpha(layers.whole, alpha)),
            "outline": outline,
            "facts": write_json(workspace / "segmentation.json", facts),
        }
        if self.params.keeps("stage_1"):
            threshold = round(self.params.segmentation.threshold * 255)
            outputs |= {
                "kept_foreground": person,
                "kept_mask": Pixels((alpha >= threshold).view(np.uint8) * np.uint8(255)),
                "kept_alpha": Pixels(alpha),
                "kept_background": Pixels(background_of(layers.whole, layers.behind, alpha)),
            }
        return outputs


def check_gates(gates: PairGatesParams, score: float, edge_error: float) -> None:
    """Raises SampleRejected (``low-score``, ``rough-outline``) if the cut-out is not good enough."""
    if score < gates.least_score:
        raise SampleRejected(LOW_SCORE, f"the score {score:.3f} is below {gates.least_score:g}")
    if edge_error > gates.largest_edge_error:
        raise SampleRejected(
            ROUGH_OUTLINE, f"the outline is {edge_error:.2f} levels off, more than {gates.largest_edge_error:g}"
        )


def _bounding_box(alpha: Uint8Array) -> list[int]:
    left, top, width, height = cv2.boundingRect(alpha)
    return [left, top, left + width, top + height]
