"""What a Rerun recording shows: views with their buffers, splats and the final flight.

Stages may name it without recording it. :mod:`scenewright_stages.scenes.rerun` writes it, and is imported only then,
because loading the SDK costs a process most of a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.scenes.flight import Flight
from scenewright_stages.scenes.frames import Frame
from scenewright_stages.scenes.splats import SplatCloud
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.imaging.colour import unit_from_uint8


@dataclass(frozen=True, eq=False)
class RerunView:
    """One camera of the scene with its buffers.

    Attributes:
        name: unique within its tab, such as "input" or "view 1".
        srgb: (H, W, 3) float in [0, 1].
        depth: (H, W) float metres; not finite or not positive where unknown.
        confidence: (H, W) float in [0, 1] or bool.
        inpaint_mask: (H, W) bool, the pixels that this view supervises.
        inpaint_wo_edge: (H, W) bool, the supervised pixels that became Gaussians.
    """

    name: str
    camera: Camera
    srgb: NDArray[np.floating]
    depth: NDArray[np.floating] | None = None
    confidence: NDArray[np.generic] | None = None
    inpaint_mask: NDArray[np.bool_] | None = None
    inpaint_wo_edge: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class RerunFrame:
    """One frame of the final camera path: (H, W, 3) sRGB and (H, W) depth in metres."""

    camera: Camera
    srgb: NDArray[np.floating]
    depth: NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class RerunScene:
    """Content of the recording; recording_id identifies it (for instance a spec hash and a sample)."""

    recording_id: str
    initial_views: tuple[RerunView, ...]
    coarse_views: tuple[RerunView, ...] = ()
    splats: SplatCloud | None = None
    frames: tuple[RerunFrame, ...] = ()


def rerun_view(name: str, frame: Frame) -> RerunView:
    """A frame of the scene as a view of the recording."""
    masks = (frame.confident, frame.inpaint, frame.inpaint_without_edge)
    return RerunView(name, frame.camera, frame.srgb, frame.depth, *masks)


def rerun_frames(flight: Flight) -> tuple[RerunFrame, ...]:
    """The flight as frames of the recording."""
    srgb = unit_from_uint8(flight.srgb)
    return tuple(RerunFrame(*frame) for frame in zip(flight.cameras, srgb, flight.depth, strict=True))
