"""Second stage: one depth pass on the outpainted image, in metres, with intrinsics for the whole canvas."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.depth.interface import DEPTH, DepthEstimate, DepthEstimator, ProvidedDepthSource
from scenewright_stages.backends.runtime.loading import ModelContext, load
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageContext, StageInputs, StageResult
from scenewright_stages.report.pictures import depth_picture
from scenewright_stages.scenes.preparation import Layout, read_png
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.depth.far_points import FarPoints, place_far_points
from scenewright_stages.vision.geometry.points import valid_depth
from scenewright_stages.vision.imaging.archives import save_arrays
from scenewright_stages.vistadream.alignment import smooth_connect
from scenewright_stages.vistadream.params import DepthParams, VistaDreamParams

ASSUMED_HORIZONTAL_DEGREES = 60.0
"""Field of view of a photograph when neither the spec, the backend nor EXIF gives one."""

NEAREST_PERCENTAGE = 1.0
"""Percentile of depth that counts as the nearest: a single stray pixel sets no scale."""

EXTRAPOLATED_CONFIDENCE = 0.5
"""Of pixels whose depth continues their surroundings."""


@dataclass(frozen=True, eq=False)
class CanvasDepth:
    """Depth of the whole canvas.

    Attributes:
        depth: (H, W) float32 metres, NaN where invalid.
        confidence: (H, W) float32 in [0, 1], 0 where invalid.
        far: (H, W) bool, sky and other points that were put on the far shell.
        camera: of the canvas, at the world's origin.
        notes: what was assumed.
    """

    depth: NDArray[np.float32]
    confidence: NDArray[np.float32]
    far: NDArray[np.bool_]
    camera: Camera
    notes: tuple[str, ...]


class DepthStage(Stage[VistaDreamParams]):
    """Estimates, or reads, the depth of a photograph and of its border."""

    def __init__(self, context: StageContext[VistaDreamParams]) -> None:
        super().__init__(context)
        self.estimator = load_depth_estimator(self.params, context)

    def process(self, sample: Sample, inputs: StageInputs[VistaDreamParams]) -> StageResult:
        """Writes depth, confidence and intrinsics of the canvas, and a preview."""
        layout = Layout.load(inputs.path("outpaint", "layout"))
        srgb = read_png(inputs.path("outpaint", "image"))
        if self.params.depth.facts.reads:
            result = self._provided(srgb, layout, inputs)
        else:
            degrees = known_degrees(self.params, layout)
            if degrees is None and self.params.depth.traits.assumes_field_of_view:
                degrees = ASSUMED_HORIZONTAL_DEGREES
            canvas_degrees = None if degrees is None else layout.canvas_camera(degrees).field_of_view[0]
            estimate = self.estimator.estimate(srgb, canvas_degrees)
            result = estimated_depth(with_a_unit(estimate, self.params.depth), layout)
        if self.params.depth.fill_invalid:
            result = filled(result)
        outputs = {"depth": inputs.workspace / "depth.npz", "preview": inputs.workspace / "depth.png"}
        save_arrays(
            outputs["depth"],
            {
                "depth": result.depth,
                "confidence": result.confidence,
                "far": result.far,
                "intrinsics": result.camera.intrinsics,
            },
        )
        preview = depth_picture(result.depth, "")
        outputs["preview"].write_bytes(preview.picture.data)
        metrics = {
            "valid_share": round(float(valid_depth(result.depth).mean()), 4),
            "near_metres": round(preview.near, 4),
            "far_metres": round(preview.far, 4),
            "far_share": round(float(result.far.mean()), 4),
            "horizontal_degrees": round(layout.canvas.inner_camera(result.camera).field_of_view[0], 2),
        }
        use = self.estimator.record.use("depth")
        notes = "; ".join([use.notes, *result.notes]) if result.notes else use.notes
        return StageResult(outputs, metrics, backends=[replace(use, notes=notes)])

    def _provided(
        self, srgb: NDArray[np.float32], layout: Layout, inputs: StageInputs[VistaDreamParams]
    ) -> CanvasDepth:
        map_path = inputs.find("input", self.params.depth.facts.reads)
        if map_path is None:
            raise SampleError("DepthMissing", MISSING_MAP)
        inner = np.ascontiguousarray(srgb[layout.canvas.inner])
        source = ProvidedDepthSource(
            path=map_path,
            source_size=(layout.source_width, layout.source_height),
            window=layout.crop,
            kind=self.params.depth.provided.kind or None,
            scale=self.params.depth.provided.scale,
            camera_file=inputs.find("input", "camera"),
        )
        degrees = known_degrees(self.params, layout) or ASSUMED_HORIZONTAL_DEGREES
        inner_degrees = layout.canvas.inner_camera(layout.canvas_camera(degrees)).field_of_view[0]
        return on_canvas(self.estimator.estimate(inner, inner_degrees, source), layout)


MISSING_MAP = (
    "depth.backend is provided, but no depth or disparity map lies beside the image: name it like the image with "
    ".depth or .disparity and .npy, .npz, .pfm or .png at the end, such as photo.depth.npy"
)


def load_depth_estimator(params: VistaDreamParams, context: StageContext[VistaDreamParams]) -> DepthEstimator:
    """The depth backend that the parameters name, with its options."""
    options: dict[str, Any] = {}
    if params.depth.scale == "relative":
        options = {"far_near_ratio": params.depth.far_near_ratio, "near_metres": params.depth.near_metres}
    settings = ModelContext.from_settings(context.models, params.depth.variant or None, options)
    return load(DEPTH, params.depth.backend, settings)


def known_degrees(params: VistaDreamParams, layout: Layout) -> float | None:
    """Horizontal field of view of the whole photograph in degrees: the spec's, else EXIF's, else not known."""
    return params.field_of_view_degrees or layout.horizontal_degrees


def with_a_unit(estimate: DepthEstimate, block: DepthParams) -> DepthEstimate:
    """The estimate in metres: depth that is right up to one factor gets its nearest pixels at `near_metres`.

    Relative backends have assumed a whole range already.
    """
    if estimate.is_metric or block.scale == "relative":
        return estimate
    nearest = np.percentile(estimate.depth[estimate.valid], NEAREST_PERCENTAGE)
    depth = (estimate.depth * np.float32(block.near_metres / nearest)).astype(np.float32)
    note = f"its nearest pixels were put at {block.near_metres:g} m (depth.nearMetres)"
    return replace(estimate, depth=depth, notes=(*estimate.notes, note))


def estimated_depth(estimate: DepthEstimate, layout: Layout) -> CanvasDepth:
    """The estimate of a backend that has seen the whole canvas, with its intrinsics, else for 60 degrees."""
    placed = place_far_points(estimate.depth)
    if estimate.intrinsics is not None:
        camera = Camera(estimate.intrinsics, layout.canvas.width, layout.canvas.height)
    else:
        camera = layout.canvas_camera(layout.horizontal_degrees or ASSUMED_HORIZONTAL_DEGREES)
    notes = (*estimate.notes, *far_notes(placed))
    return CanvasDepth(placed.depth, placed_confidence(estimate, placed), placed.far, camera, notes)


def placed_confidence(estimate: DepthEstimate, placed: FarPoints) -> NDArray[np.float32]:
    """(H, W) float32: the estimate's own, but low on the shell."""
    return np.where(placed.far, np.float32(EXTRAPOLATED_CONFIDENCE), estimate.confidence).astype(np.float32)


def far_notes(placed: FarPoints) -> tuple[str, ...]:
    """What the record says of the shell."""
    if not placed.far.any():
        return ()
    share = float(placed.far.mean())
    return (f"sky and far points ({share:.0%} of the picture) lie on a shell at {placed.shell:.4g} m: extrapolated",)


def on_canvas(estimate: DepthEstimate, layout: Layout) -> CanvasDepth:
    """An estimate of the photograph alone, continued over the border by a membrane of low confidence."""
    canvas = layout.canvas
    shape = (canvas.height, canvas.width)
    placed = place_far_points(estimate.depth)
    known = np.full(shape, np.nan, np.float32)
    known[canvas.inner] = placed.depth
    confidence = np.zeros(shape, np.float32)
    confidence[canvas.inner] = placed_confidence(estimate, placed)
    far = np.zeros(shape, np.bool_)
    far[canvas.inner] = placed.far
    ring = canvas.hole()
    depth = np.where(ring, continued(known), known).astype(np.float32)
    confidence[ring] = EXTRAPOLATED_CONFIDENCE
    notes = (*estimate.notes, *far_notes(placed))
    if estimate.intrinsics is not None:
        inner = Camera(estimate.intrinsics, canvas.inner_width, canvas.inner_height)
        return CanvasDepth(depth, confidence, far, canvas.camera(inner), notes)
    degrees = layout.horizontal_degrees or ASSUMED_HORIZONTAL_DEGREES
    return CanvasDepth(depth, confidence, far, layout.canvas_camera(degrees), notes)


def continued(known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Depth (H, W) without gaps: known where valid, a membrane through inverse depth elsewhere."""
    valid = valid_depth(known)
    if not valid.any():
        raise SampleError("NoValidDepth", "no pixel of the depth map is finite and positive")
    inverse = np.divide(1.0, known, where=valid, out=np.full(known.shape, np.nan, np.float32))
    flat = np.full(known.shape, np.float32(np.nanmedian(inverse)))
    smooth = 1.0 / smooth_connect(flat, inverse)
    return np.where(valid, known, smooth).astype(np.float32)


def filled(result: CanvasDepth) -> CanvasDepth:
    """Invalid pixels continue their surroundings, at low confidence."""
    invalid = ~valid_depth(result.depth)
    confidence = np.where(invalid, np.float32(EXTRAPOLATED_CONFIDENCE), result.confidence)
    return replace(result, depth=continued(result.depth), confidence=confidence)
