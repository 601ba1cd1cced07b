"""Corrects the initial Gaussians from the images along the paths: by plane sweeps, triangulation or a model.

The points stage calls this. Cameras estimated by a model are aligned to the known cameras with one similarity
transform; if they do not fit, the world fails with a reason instead of training on misplaced points.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from scenewright_stages.backends.geometry.interface import GEOMETRY, GeometryEstimator, ViewGeometry
from scenewright_stages.backends.runtime.loading import ModelContext, load
from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.stage import ModelSettings
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.start import Start
from scenewright_stages.vision.geometry.depth.plane_sweep import Shot
from scenewright_stages.vision.geometry.points import project
from scenewright_stages.vision.imaging.colour import unit_from_uint8
from scenewright_stages.vision.places.captures.capture import CaptureError
from scenewright_stages.vision.places.captures.estimation import EstimationSettings
from scenewright_stages.vision.places.captures.triangulation import Triangulation, triangulate
from scenewright_stages.vision.places.worlds.correction import (
    CorrectedStart,
    Measured,
    corrected_start,
    without_contradicted,
)
from scenewright_stages.vision.places.worlds.memory import WorldFrame
from scenewright_stages.vision.places.worlds.swept import swept_pictures
from scenewright_stages.worldexplorer.params import PointsParams
from scenewright_stages.worldexplorer.similarity import Alignment, align_cameras

Facts = dict[str, Any]

_FEATURES = EstimationSettings(features=2000, longest_side=1600)
_AROUND = 48
"""A triangulated point stands for a square of the picture: so many times its half side make the width."""
_UNSURE = 0.3
"""Share of the pixels that a model is least sure of, which are left out."""


def load_estimator(block: PointsParams, models: ModelSettings) -> GeometryEstimator | None:
    """The geometry model, or None for the other methods."""
    if not block.by_model:
        return None
    return load(GEOMETRY, block.method, ModelContext.from_settings(models, variant=block.variant))


def measured_start(
    start: GaussianScene,
    frames: Sequence[WorldFrame],
    block: PointsParams,
    opacity: float,
    estimator: GeometryEstimator | None,
    folder: Path,
    progress: Callable[[float, str], None],
) -> tuple[GaussianScene, Facts]:
    """The initial Gaussians corrected by measurement, and metrics of the change.

    Args:
        start: one Gaussian per pixel of the guessed depth.
        frames: images along the paths.
        block: method and limits.
        opacity: of added Gaussians.
        estimator: for methods vggt and map-anything.
        folder: working folder, removed afterwards.
        progress: called with a fraction from 0 to 1 and a message.

    Raises:
        SampleError: nothing can be measured, or a model's cameras do not match the known ones.
    """
    if block.method == "planeSweep":
        shots = [Shot(unit_from_uint8(frame.srgb), frame.camera) for frame in frames]
        swept = swept_pictures(shots, [frame.depth for frame in frames], block.references)
        return _with_facts(corrected_start(start, swept, opacity), "swept_pictures", {})
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(block.references, len(frames))).round().astype(int))
    used = [frames[number] for number in chosen.tolist()]
    if block.method == "pycolmap":
        return _triangulated(start, used, opacity, folder, progress)
    assert estimator is not None
    measured, facts = estimated_pictures(estimator, used, block)
    return _with_facts(corrected_start(start, measured, opacity), "estimated_pictures", facts)


def estimated_pictures(
    estimator: GeometryEstimator, frames: Sequence[WorldFrame], block: PointsParams
) -> tuple[list[Measured], Facts]:
    """The images with a model's depth in world coordinates, and how well its cameras fit the known ones.

    Raises:
        SampleError: they do not fit.
    """
    views = estimator.estimate([unit_from_uint8(frame.srgb) for frame in frames])
    try:
        found = align_cameras([view.camera for view in views], [frame.camera for frame in frames])
    except ValueError as problem:
        said = f"the cameras of {block.method} cannot be brought onto the known ones: {problem}"
        raise SampleError("NotAligned", said) from problem
    facts = _fit(found)
    _check(facts, block)
    sure = float(np.quantile(np.stack([view.confidence for view in views]), _UNSURE))
    return [_measured(view, frame, found, sure) for view, frame in zip(views, frames, strict=True)], facts


def _fit(found: Alignment) -> Facts:
    return {
        "alignment_scale": round(found.similarity.scale, 6),
        "alignment_error": round(float(np.median(found.position_errors)), 5),
        "alignment_error_worst": round(float(found.position_errors.max()), 5),
        "alignment_degrees": round(float(np.median(found.angle_errors)), 4),
        "alignment_degrees_worst": round(float(found.angle_errors.max()), 4),
        "cameras_left_out": int((~found.inliers).sum()),
    }


def _check(facts: Facts, block: PointsParams) -> None:
    for name, limit, field, unit in (
        ("alignment_error", block.alignment_limit, "alignmentLimit", " of their spread"),
        ("alignment_degrees", block.alignment_limit_degrees, "alignmentLimitDegrees", " degrees"),
    ):
        if facts[name] > limit:
            raise SampleError(
                "NotAligned",
                f"{block.method} puts the cameras elsewhere than they are: by {facts[name]:.3g}{unit} in the median, "
                f"more than points.{field} ({limit:g}); the pictures may not show one place, use points.method "
                "scaffold",
            )


def _measured(view: ViewGeometry, frame: WorldFrame, found: Alignment, sure: float) -> Measured:
    """A model's view in world coordinates, at the frame's size."""
    size = (frame.camera.width, frame.camera.height)
    # No confidence at all: there is nothing that has one distance, such as in the sky.
    kept = (view.confidence >= sure) & (view.confidence > 0)
    depth = np.where(kept, view.depth * found.similarity.scale, 0).astype(np.float32)
    camera = found.similarity.camera(view.camera).scaled(*size)
    resized = np.asarray(cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST), np.float32)
    return Measured(Shot(unit_from_uint8(frame.srgb), camera), resized)


def _with_facts(found: CorrectedStart, pictures: str, facts: Facts) -> tuple[GaussianScene, Facts]:
    return found.scene, {pictures: found.pictures, "added": found.added, "removed": found.removed, **facts}


def _triangulated(
    start: GaussianScene,
    frames: Sequence[WorldFrame],
    opacity: float,
    folder: Path,
    progress: Callable[[float, str], None],
) -> tuple[GaussianScene, Facts]:
    """The initial Gaussians plus triangulated points, without Gaussians that would occlude the points."""
    cameras = [frame.camera for frame in frames]
    try:
        found = triangulate([frame.srgb for frame in frames], cameras, folder, _FEATURES, progress)
    except CaptureError as problem:
        raise SampleError(problem.reason, f"{problem}; use points.method scaffold") from problem
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    kept = without_contradicted(start, sparse_depths(found, frames))
    added = Start(found.points, (found.colours / 255).astype(np.float32), 0).scene(opacity)
    facts = {
        "triangulated_pictures": len(frames),
        "added": len(added),
        "removed": len(start) - len(kept),
        "reprojection_error": round(found.reprojection_error, 4),
    }
    return GaussianScene.concatenate([kept, added]), facts


def sparse_depths(found: Triangulation, frames: Sequence[WorldFrame]) -> list[Measured]:
    """The images with sparse depth from the points that each shows; a point covers the pixels around it."""
    measured = []
    for number, frame in enumerate(frames):
        camera = frame.camera
        pixels, z = project(found.points[found.seen[found.seen[:, 0] == number, 1]], camera)
        depth = np.zeros((camera.height, camera.width), np.float32)
        around = max(1, camera.width // _AROUND)
        # Draw the nearest last.
        for at in np.argsort(-z).tolist():
            column, row = (max(0, int(each) - around) for each in pixels[at])
            depth[row : row + 2 * around + 1, column : column + 2 * around + 1] = z[at]
        measured.append(Measured(Shot(unit_from_uint8(frame.srgb), camera), depth))
    return measured
