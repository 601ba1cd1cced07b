"""Depth stage: the panorama of distances from the centre, estimated from the views or supplied with the input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from scenewright_stages.backends.depth.interface import DEPTH, DepthEstimator
from scenewright_stages.backends.runtime.loading import ModelContext, load
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.scenes.preparation import read_png
from scenewright_stages.vision.geometry.depth.maps import ProvidedDepthError, read_map
from scenewright_stages.vision.imaging.archives import save_arrays
from scenewright_stages.vision.imaging.colour import depth_colours, depth_limits
from scenewright_stages.vision.places.worlds.depth_ring import closed_ring
from scenewright_stages.vision.places.worlds.layout import Walls, distances, find_sky, find_walls, looks_like_sky
from scenewright_stages.vision.places.worlds.motions import VIEW_DEGREES, VIEWS, view_camera
from scenewright_stages.vision.places.worlds.panorama import stitch
from scenewright_stages.vision.types import Float32Array
from scenewright_stages.worldexplorer.params import WorldDepthParams, WorldExplorerParams

_PRIOR = (
    "distances are a guess (level floor, upright walls, {above}), not a measurement: furniture lies flat on floor and "
    "walls; sizes follow from depth.cameraHeight = {height:g} m"
)


_UNKNOWN_UNIT = (
    "the depth model's unit is unknown: sizes follow from depth.cameraHeight = {height:g} m above the ground below"
)
_GROUND_FROM = 0.75
"""Rows of a panorama below this share of its height look steeply down."""


class DepthStage(Stage[WorldExplorerParams]):
    """Makes the panorama of distances."""

    def __init__(self, context: StageContext[WorldExplorerParams]) -> None:
        super().__init__(context)
        block = self.params.depth
        self._estimator: DepthEstimator | None = None
        if block.method == "model":
            self._estimator = load(
                DEPTH, block.backend, ModelContext.from_settings(context.models, block.variant or None)
            )

    def process(self, sample: Sample, inputs: StageInputs[WorldExplorerParams]) -> StageResult:
        """Writes distances and their preview."""
        block = inputs.params.depth
        panorama = read_png(inputs.path("scaffold", "panorama"))
        if block.method == "classic":
            walls, distance = guessed(panorama, block)
            above = "the sky" if walls.ceiling is None else "level ceiling"
            warnings = [_PRIOR.format(above=above, height=block.camera_height)]
            facts = {"ceiling": round((1 + walls.ceiling) * block.camera_height, 3) if walls.ceiling else 0.0}
        elif block.method == "model":
            distance, warnings, facts = self._estimated(inputs, len(panorama))
        else:
            distance = provided(inputs, len(panorama), block.farthest)
            warnings, facts = [], {}
        path = inputs.workspace / "distance.npz"
        save_arrays(path, {"distance": distance})
        near, far = (round(float(each), 3) for each in np.percentile(distance[distance > 0], (5, 95)))
        preview = depth_colours(distance, *depth_limits(distance))
        return StageResult(
            {"distance": path, "preview": Pixels(preview)},
            metrics={"method": block.method, "near_metres": near, "far_metres": far, **facts},
            warnings=warnings,
            backends=(self._estimator.record.use(),) if block.method == "model" and self._estimator else (),
        )

    def _estimated(
        self, inputs: StageInputs[WorldExplorerParams], height: int
    ) -> tuple[Float32Array, list[str], dict[str, float]]:
        if self._estimator is None:
            raise SampleError(
                "DepthModelMissing", "depth.method model of an entry needs depth.method model of the job as well"
            )
        views = [read_png(path) for path in inputs.paths("scaffold", "views")]
        return estimated(self._estimator, views, height, inputs.params.depth)


def guessed(panorama: Float32Array, block: WorldDepthParams) -> tuple[Walls, Float32Array]:
    """The room layout, and (H, 2 H) metres along the rays, guessed without a model."""
    covered = block.ceiling == "yes" or (block.ceiling == "auto" and not looks_like_sky(panorama))
    ratio = block.ceiling_height / block.camera_height - 1 if block.ceiling_height else 0.0
    walls = find_walls(panorama, ceiling=covered, ratio=ratio)
    sky = None if covered else find_sky(panorama)
    return walls, distances(walls, len(panorama), block.camera_height, block.farthest, sky)


def estimated(
    estimator: DepthEstimator, views: Sequence[Float32Array], height: int, block: WorldDepthParams
) -> tuple[Float32Array, list[str], dict[str, float]]:
    """(height, 2 height) metres along the rays from a model's depth of each view, warnings, and metrics.

    Raises:
        SampleError: two neighbouring views share no known depth.
    """
    estimates = [estimator.estimate(view, VIEW_DEGREES) for view in views]
    cameras = [view_camera(number, len(view)) for number, view in enumerate(views)]
    depths = [np.where(each.valid, each.depth, 0).astype(np.float32) for each in estimates]
    try:
        ring = closed_ring(depths, cameras)
    except ValueError as problem:
        raise SampleError("DepthUnusable", str(problem)) from None
    blank = [np.zeros((*depth.shape, 3), np.float32) for depth in depths]
    stitched = stitch(blank, cameras, height, ring.depths)
    assert stitched.distance is not None
    distance, warnings = _without_gaps(stitched.distance), []
    if not all(each.is_metric for each in estimates):
        distance = distance * np.float32(block.camera_height / _floor_below(distance))
        warnings = [_UNKNOWN_UNIT.format(height=block.camera_height)]
    facts = {"disagreement": round(ring.disagreement, 5), "disagreement_before": round(ring.before, 5)}
    return np.minimum(distance, np.float32(block.farthest)), warnings, facts


def _floor_below(distance: Float32Array) -> float:
    """Height of the camera above the ground, in the unit of the distances."""
    rows = np.arange(int(_GROUND_FROM * len(distance)), len(distance))
    sine = np.sin(((rows + 0.5) / len(distance) - 0.5) * np.pi)
    return float(np.median(distance[rows] * sine[:, None]))


def provided(inputs: StageInputs[WorldExplorerParams], height: int, farthest: float) -> Float32Array:
    """(height, 2 height) metres along the rays from the depth files beside the images.

    Raises:
        SampleError: a file is missing or unusable.
    """
    whole = inputs.find(INPUT, "depth")
    if whole is not None:
        distance = _read(whole)
        if distance.shape[1] != 2 * distance.shape[0]:
            raise SampleError("BadDepth", f"{whole.name} has shape {distance.shape}; of a panorama it is (H, 2 H)")
    else:
        found = [inputs.find(INPUT, f"depth_{view}") for view in range(VIEWS)]
        depths = [_read(path) for path in found if path is not None]
        if len(depths) < VIEWS:
            raise SampleError(
                "DepthMissing",
                "depth.method provided needs <picture>.depth.npy beside the panorama, or 000.depth.npy to "
                "007.depth.npy; without them set depth.method to classic",
            )
        cameras = [view_camera(view, depth.shape[0]) for view, depth in enumerate(depths)]
        blank = [np.zeros((*depth.shape, 3), np.float32) for depth in depths]
        stitched = stitch(blank, cameras, height, depths)
        assert stitched.distance is not None
        distance = stitched.distance
    resized = cv2.resize(distance, (2 * height, height), interpolation=cv2.INTER_NEAREST)
    return np.minimum(_without_gaps(np.asarray(resized, np.float32)), np.float32(farthest))


def _read(path: Path) -> Float32Array:
    """Reads a depth map; values that are not finite and positive become 0."""
    try:
        values = read_map(path)
    except ProvidedDepthError as problem:
        raise SampleError("BadDepth", str(problem)) from None
    usable = np.isfinite(values) & (values > 0)
    if not usable.any():
        raise SampleError("BadDepth", f"{path.name} holds no finite positive depth")
    return np.where(usable, values, 0).astype(np.float32)


def _without_gaps(distance: Float32Array) -> Float32Array:
    """Fills unknown pixels from the height of the nearest known pixel in their column; keeps floors level."""
    height = len(distance)
    sine = np.sin(np.abs((0.5 - (np.arange(height) + 0.5) / height) * np.pi))
    known = distance > 0
    filled = distance.copy()
    for column in np.flatnonzero(~known.all(axis=0)):
        rows = np.flatnonzero(known[:, column])
        if not len(rows):
            continue
        missing = np.flatnonzero(~known[:, column])
        nearest = rows[np.abs(missing[:, None] - rows[None]).argmin(axis=1)]
        level = distance[nearest, column] * sine[nearest] / np.maximum(sine[missing], 1e-3)
        filled[missing, column] = np.minimum(level, distance[nearest, column])
    return filled if known.any(axis=0).all() else np.where(filled > 0, filled, filled[filled > 0].max())
