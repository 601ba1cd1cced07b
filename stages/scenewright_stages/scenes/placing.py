"""Brings a scene from the frame in which it was trained into that of its capture, as far as float32 carries it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from scenewright_stages.vision.gaussians.rotation import rotated
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.points import inside_picture, project
from scenewright_stages.vision.places.captures.frame import Frame
from scenewright_stages.vision.places.captures.pictures import PosedPhotographs

COSTLY_PIXELS = 0.1
"""Rounding of a published position to float32 may move it in a photograph by so many pixels."""
_JUDGED, _PERCENTILE = 2000, 99.0


@dataclass(frozen=True, eq=False)
class PlacedScene:
    """A scene as published.

    Attributes:
        scene: axes and unit of the capture.
        frame: where its origin lies in the capture's frame; None if that is the capture's own.
    """

    scene: GaussianScene
    frame: Frame | None

    def notes(self) -> list[str]:
        """Notes for the user."""
        if self.frame is None:
            return []
        at = ", ".join(f"{each:.6g}" for each in self.frame.origin)
        return [
            f"gf.ply has its origin at ({at}): float32 coordinates of the capture's own frame would be off by more "
            f"than {COSTLY_PIXELS} pixels. frame.json holds the matrix from gf.ply to that frame"
        ]


def placed(scene: GaussianScene, photographs: PosedPhotographs) -> PlacedScene:
    """A scene trained in the photographs' frame, as it is published."""
    frame = photographs.frame
    if frame.is_world:
        return PlacedScene(scene, None)
    if rounding_pixels(scene, photographs) > COSTLY_PIXELS:
        return PlacedScene(moved(scene, Frame(np.zeros(3), frame.unit, frame.axes)), Frame(frame.origin, 1.0))
    return PlacedScene(moved(scene, frame), None)


def rounding_pixels(scene: GaussianScene, photographs: PosedPhotographs) -> float:
    """How far float32 in the capture's frame moves Gaussians in the photographs, in pixels (99th percentile)."""
    means = scene.means.detach().cpu().numpy().astype(np.float64)
    means = means[:: max(1, len(means) // _JUDGED)]
    frame = photographs.frame
    rounded = frame.points_inside(frame.points_outside(means).astype(np.float32).astype(np.float64))
    found = []
    for each in photographs.photographs:
        exact, depth = project(means, each.camera)
        off, _ = project(rounded, each.camera)
        seen = inside_picture(exact, depth, each.camera)
        shift = np.linalg.norm(off[seen] - exact[seen], axis=1)
        found.append(np.nan_to_num(shift, nan=np.inf))
    every = np.concatenate(found)
    return float(np.percentile(every, _PERCENTILE)) if len(every) else 0.0


def moved(scene: GaussianScene, frame: Frame) -> GaussianScene:
    """A scene of a frame's local coordinates in the frame's world, on the CPU."""
    turned = rotated(scene.detach().to("cpu"), frame.axes)
    means = frame.points_outside(scene.means.detach().cpu().numpy().astype(np.float64))
    return replace(
        turned, means=torch.from_numpy(means.astype(np.float32)), log_scales=turned.log_scales + math.log(frame.unit)
    )


def unmoved(scene: GaussianScene, photographs: PosedPhotographs, own_frame: bool) -> GaussianScene:
    """A published scene back in the photographs' frame.

    Args:
        own_frame: whether it was published with a ``frame.json``.
    """
    frame = photographs.frame
    if frame.is_world:
        return scene
    return moved(scene, Frame(np.zeros(3) if own_frame else frame.origin, frame.unit, frame.axes).inverse())


def write_frame(path: Path, frame: Frame) -> None:
    """Writes ``frame.json``: the row-major 4x4 matrix that maps the scene's coordinates to the capture's."""
    path.write_text(json.dumps(frame.to_json(), indent=1) + "\n")
