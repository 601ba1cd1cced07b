"""Baseline for a reconstruction: the nearest photograph, warped as if the scene were a single plane.

The plane is fitted to the capture's points. For aerial photographs it is the ground and the warp is an orthomosaic;
scenes with real depth deviate from it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.captures import nearest
from scenewright_stages.reconstruct.views import Roles
from scenewright_stages.scenes.captures import shots_facts
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.planes import Plane, fitted_plane
from scenewright_stages.vision.geometry.warping import warp_reference
from scenewright_stages.vision.imaging.metrics import array_psnr
from scenewright_stages.vision.places.captures.pictures import PosedPhotographs


def against_nearest_photograph(
    photographs: PosedPhotographs, roles: Roles, drawn: Callable[[Camera], NDArray[np.float32]]
) -> dict[str, float | None]:
    """Compares the warp and the scene on the held-out photographs.

    Args:
        drawn: (H, W, 3) float32 render of the scene from a camera.

    Returns:
        Means: PSNR in dB of the warp over whole images, filled with its mean colour where it is empty (``psnr``); the
        share that it covers (``shown``); and the PSNR of both over that share (``psnr_shown``, ``scene_psnr_shown``).
        None if there are too few points for a plane, or no warp covers anything.
    """
    plane = fitted_plane(photographs.points)
    rows = [] if plane is None else [_compared(photographs, roles, plane, number, drawn) for number in roles.held_out]
    kept = [row for row in rows if row is not None]
    names = ("psnr", "shown", "psnr_shown", "scene_psnr_shown")
    if not kept:
        return dict.fromkeys(names)
    return {name: round(float(value), 3) for name, value in zip(names, np.mean(kept, axis=0), strict=True)}


def _compared(
    photographs: PosedPhotographs,
    roles: Roles,
    plane: Plane,
    number: int,
    drawn: Callable[[Camera], NDArray[np.float32]],
) -> tuple[float, float, float, float] | None:
    place = nearest(shots_facts(photographs), number, roles.train)
    assert place is not None
    target, reference = photographs.photographs[number], photographs.photographs[place]
    srgb, truth = ((each.srgb / 255).astype(np.float32) for each in (reference, target))
    plane_depth, counted = plane.depth(target.camera), target.counted()
    warped, shown = warp_reference(plane_depth, target.camera, srgb, reference.camera, reference_valid=reference.valid)
    shown &= counted
    if not shown.any():
        return None
    whole = np.where(shown[..., None], warped, warped[shown].mean(axis=0))
    scene = drawn(target.camera)
    return (
        array_psnr(whole, truth, target.valid),
        float(shown.sum() / counted.sum()),
        array_psnr(warped[shown], truth[shown]),
        array_psnr(scene[shown], truth[shown]),
    )
