"""Measures whether a walk shows a real 3D place, on the world's Gaussians and the frames of the walk.

The export stage records the numbers and warns of failures; the page shows them with their limits. A panorama on a
sphere has no holes and sharp images; only its ground gives it away, which moves like a bowl.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch

from scenewright_stages.scenes.captures import view_of
from scenewright_stages.scenes.flight import Flight
from scenewright_stages.scenes.quality import nearest_distance
from scenewright_stages.vision.gaussians.evaluation import evaluate
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.geometry.points import project
from scenewright_stages.vision.types import Float32Array, Float64Array, Mask
from scenewright_stages.worldexplorer.capture import WorldCapture
from scenewright_stages.worldexplorer.params import WalkParams

MAXIMUM_MEAN_UNCOVERED, MAXIMUM_FRAME_UNCOVERED, MINIMUM_CENTRE_PSNR = 0.01, 0.04, 30.0
MINIMUM_CLEARANCE = 0.5
"""Of the near depth, the 5th percentile of distances from the middle."""
MAXIMUM_GROUND_SLIP = 3.0
MAXIMUM_WIDE_SHARE = 0.1
MINIMUM_SHARPNESS_KEPT = 0.6

_STEEP = 50.0
"""Degrees below the horizon from which a picture shows ground nearly everywhere."""
_GROUND_PERCENTILE = 75.0
"""A quarter of the ground may be furniture."""
_GROUND_POINTS = 4000
_NEAREST_SEEN = 0.2
_SLIP_WIDTH = 640
"""Pixels across of the pictures that the ground's slip is measured in, whatever the video's size."""
_WIDE = 0.05
_GREY_LEVEL = 1 / 255
_LESS_REACH = 0.6
"""Of the walk's reach: what a warning proposes."""
_SKY_SHARE = 0.01
_SLIP_EVERY, _WIDE_EVERY, _SHARP_EVERY = 10, 15, 18


@dataclass(frozen=True)
class WalkQuality:
    """Measurements along the walk.

    Attributes:
        reach_metres: how far it goes to each side.
        uncovered_mean, uncovered_max: share of pixels with alpha below 0.7, over all frames and in the worst frame.
        nearest_gaussian_metres: distance of the nearest Gaussian to any camera.
        near_metres: 5th percentile of the distances from the centre.
        ground_slip_px: deviation of the ground from a level plane, in pixels of 640 px wide frames; NaN without ground.
        ball_slip_px: the same for a sphere with the place's median distance, as the baseline.
        wide_share: largest share of a frame covered by Gaussians wider than 5 % of the place, without the sky.
        sharpness_kept: sharpness of the frames relative to the same view directions from the centre.
        wide_sharpness_kept: the same where those large Gaussians are seen; 1 without them.
    """

    reach_metres: float
    uncovered_mean: float
    uncovered_max: float
    nearest_gaussian_metres: float
    near_metres: float
    ground_slip_px: float
    ball_slip_px: float
    wide_share: float
    sharpness_kept: float
    wide_sharpness_kept: float = 1.0

    def failures(self, block: WalkParams) -> list[str]:
        """Warnings about visible defects; empty if the walk is good."""
        found: list[str] = []
        less = round(_LESS_REACH * self.reach_metres, 2)
        if self.uncovered_mean > MAXIMUM_MEAN_UNCOVERED or self.uncovered_max > MAXIMUM_FRAME_UNCOVERED:
            found.append(
                f"{self.uncovered_mean:.1%} of the walk shows nothing ({self.uncovered_max:.1%} of its worst frame): "
                f"--set walk.reach={less:g}, or make more of the paths (expansion.stride)"
            )
        if self.nearest_gaussian_metres < MINIMUM_CLEARANCE * self.near_metres:
            found.append(
                f"the walk comes within {self.nearest_gaussian_metres:.2f} m of a surface, nearer than half of the "
                f"place's near depth of {self.near_metres:.2f} m: --set walk.reach={less:g}"
            )
        if self.ground_slip_px > MAXIMUM_GROUND_SLIP:
            found.append(
                f"the ground is not level: it slips {self.ground_slip_px:.1f} pixels along the walk (good: at most "
                f"{MAXIMUM_GROUND_SLIP:g}); check the distances"
            )
        if self.wide_share > MAXIMUM_WIDE_SHARE and self.wide_sharpness_kept < MINIMUM_SHARPNESS_KEPT:
            # Flat walls are large Gaussians too: only blur makes them a defect.
            found.append(
                f"large Gaussians blur {self.wide_share:.0%} of a frame, which keeps {self.wide_sharpness_kept:.0%} of "
                f"its sharpness from the middle (good: at least 60 %): --set walk.reach={less:g}"
            )
        if self.sharpness_kept < MINIMUM_SHARPNESS_KEPT:
            found.append(
                f"frames of the walk keep {self.sharpness_kept:.0%} of the sharpness from the middle (good: at least "
                f"60 %): --set walk.reach={less:g}, or raise scaffold.panoramaHeight"
            )
        if self.reach_metres < block.reach - 1e-6:
            found.append(f"the walk reaches {self.reach_metres:.2f} m only: surfaces are nearer than walk.reach")
        return found

    def to_json(self) -> dict[str, float | None]:
        """The numbers, rounded; null if not measurable."""
        return {name: None if np.isnan(value) else round(value, 5) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WalkQuality:
        """The inverse of :meth:`to_json`."""
        values = {each.name: data.get(each.name, each.default) for each in fields(cls)}
        return cls(**{name: float("nan") if value is None else float(value) for name, value in values.items()})


def walk_quality(
    scene: GaussianScene, flight: Flight, distance: Float32Array, middle: Camera, reach: float, renderer: Renderer
) -> WalkQuality:
    """Measures a walk.

    Args:
        scene: the world.
        flight: images along the walk.
        distance: (H, 2 H) metres along the rays from the centre, in its frame; 0 where unknown.
        middle: camera at the centre, where the walk starts.
        reach: how far the walk goes to each side, metres.
    """
    known = distance[distance > 0]
    means = scene.means.detach().cpu().numpy()
    local = (means - middle.position.astype(np.float32)) @ middle.camera_from_world[:3, :3].T.astype(np.float32)
    rays, shown = _ground(local)
    back = middle.world_from_camera
    placed = [points @ back[:3, :3].T + back[:3, 3] for points in (shown, rays * float(np.median(known)))]
    slips = [ground_slip(points, _level(points, middle), flight.cameras[::_SLIP_EVERY]) for points in placed]
    masks = wide_masks(_not_sky(scene, local, distance), flight.cameras, renderer)
    return WalkQuality(
        reach_metres=reach,
        uncovered_mean=float(np.mean(flight.uncovered)),
        uncovered_max=float(np.max(flight.uncovered)),
        nearest_gaussian_metres=nearest_distance(means, flight.cameras),
        near_metres=float(np.percentile(known, 5)),
        ground_slip_px=slips[0],
        ball_slip_px=slips[1],
        wide_share=max((float(mask.mean()) for mask in masks.values()), default=0.0),
        sharpness_kept=sharpness_kept(scene, flight, middle, renderer),
        wide_sharpness_kept=wide_sharpness_kept(scene, flight, middle, masks, renderer),
    )


def picture_quality(scene: GaussianScene, capture: WorldCapture, renderer: Renderer) -> dict[str, Any]:
    """PSNR of the views from the centre, and of the held-out paths."""
    found: dict[str, Any] = {
        "centre_psnr": round(evaluate(scene, [view_of(each) for each in capture.central()], renderer).psnr, 3)
    }
    if capture.held_out:
        quality = evaluate(scene, [view_of(each) for each in capture.held_out], renderer)
        found["held_out"] = {"views": len(capture.held_out), **quality.to_json()}
    return found


def picture_failures(pictures: Mapping[str, Any]) -> list[str]:
    """Warnings about poorly reproduced images."""
    if pictures["centre_psnr"] >= MINIMUM_CENTRE_PSNR:
        return []
    return [f"the views from the middle are reproduced at {pictures['centre_psnr']:.1f} dB only (good: 30 dB)"]


def ground_slip(
    shown: Float64Array, true: Float64Array, cameras: list[Camera], percentile: float = _GROUND_PERCENTILE
) -> float:
    """How far points (N, 3) deviate from their true positions (N, 3) along a walk, in pixels; NaN if never seen.

    Pixels refer to a 640 px wide frame. The frames are taken twice as wide and high, because a viewer may look down.
    """
    slips = []
    for camera in cameras:
        (at, z), (there, depth) = project(shown, camera), project(true, camera)
        size = np.array((camera.width, camera.height))
        with np.errstate(invalid="ignore"):
            near = np.minimum(z, depth) > _NEAREST_SEEN
            seen = near & np.all((there >= -size / 2) & (there < 1.5 * size), axis=1)
        slips.append(np.linalg.norm(at[seen] - there[seen], axis=1) * _SLIP_WIDTH / camera.width)
    found = np.concatenate(slips)
    return float(np.percentile(found, percentile)) if len(found) else float("nan")


def wide_masks(scene: GaussianScene, cameras: list[Camera], renderer: Renderer) -> dict[int, Mask]:
    """(H, W) bool by number of a camera: what Gaussians wider than 5 % of the scene's extent cover."""
    if not len(scene):
        return {}
    extent = float(np.ptp(scene.means.detach().cpu().numpy(), axis=0).mean())
    wide = scene.log_scales.exp().max(dim=1).values > _WIDE * extent
    if not bool(wide.any()):
        return {}
    numbers = range(0, len(cameras), _WIDE_EVERY)
    with torch.no_grad():
        alpha = renderer.render(scene.select(wide), [cameras[number] for number in numbers]).alpha
    return dict(zip(numbers, (alpha > 0.5).cpu().numpy(), strict=True))


def wide_sharpness_kept(
    scene: GaussianScene, flight: Flight, middle: Camera, masks: Mapping[int, Mask], renderer: Renderer
) -> float:
    """Median over frames of the sharpness inside their masks, relative to the same view directions from the centre.

    One grey level is added to both: a plain wall is as sharp as it was.
    """
    ratios = []
    for number, mask in masks.items():
        if mask.mean() > MAXIMUM_WIDE_SHARE / 2:
            still = _from_the_middle(scene, flight.cameras[number], middle, renderer)
            frame = flight.srgb[number] / np.float32(255)
            ratios.append((sharpness(frame, mask) + _GREY_LEVEL) / (sharpness(still, mask) + _GREY_LEVEL))
    return float(np.median(ratios)) if ratios else 1.0


def sharpness_kept(scene: GaussianScene, flight: Flight, middle: Camera, renderer: Renderer) -> float:
    """Median ratio of the sharpness of frames to that of the same view directions from the centre."""
    ratios = []
    for number in range(_SHARP_EVERY // 2, len(flight.cameras), _SHARP_EVERY):
        still = _from_the_middle(scene, flight.cameras[number], middle, renderer)
        ratios.append(sharpness(flight.srgb[number] / np.float32(255)) / max(sharpness(still), 1e-6))
    return float(np.median(ratios)) if ratios else 1.0


def _from_the_middle(scene: GaussianScene, camera: Camera, middle: Camera, renderer: Renderer) -> Float32Array:
    """(H, W, 3) float32: what a camera at the centre sees in the same direction."""
    turned = camera.camera_from_world.copy()
    turned[:3, 3] = -turned[:3, :3] @ middle.position
    with torch.no_grad():
        return np.asarray(renderer.render(scene, [camera.with_pose(turned)]).rgb[0].clamp(0, 1).cpu().numpy())


def sharpness(picture: Float32Array, mask: Mask | None = None) -> float:
    """Mean absolute difference between neighbours in (H, W, 3), of those in the (H, W) mask if there is one."""
    down, right = np.abs(np.diff(picture, axis=0)), np.abs(np.diff(picture, axis=1))
    if mask is not None:
        down, right = down[mask[1:] & mask[:-1]], right[mask[:, 1:] & mask[:, :-1]]
    return float(sum(each.mean() for each in (down, right) if each.size))


def _ground(local: Float32Array) -> tuple[Float64Array, Float64Array]:
    """Directions (N, 3) that point steeply down from the centre, and the ground points (N, 3) there, in its frame."""
    points = local.astype(np.float64)
    length = np.maximum(np.linalg.norm(points, axis=1), 1e-9)
    steep = np.flatnonzero(points[:, 1] > np.sin(np.radians(_STEEP)) * length)
    chosen = steep[:: max(1, len(steep) // _GROUND_POINTS)]
    return points[chosen] / length[chosen, None], points[chosen]


def _level(points: Float64Array, middle: Camera) -> Float64Array:
    """Intersections of the rays from the centre to points (N, 3) with the level plane at their median height."""
    if not len(points):
        return points
    rays = points - middle.position
    heights = rays @ middle.camera_from_world[1, :3]
    return np.asarray(middle.position + rays * (float(np.median(heights)) / heights)[:, None])


def _not_sky(scene: GaussianScene, local: Float32Array, distance: Float32Array) -> GaussianScene:
    """The Gaussians nearer than the farthest shell, if that shell (the sky) covers much of the panorama."""
    farthest = 0.99 * float(distance.max())
    if float((distance > farthest).mean()) < _SKY_SHARE:
        return scene
    near = np.linalg.norm(local, axis=1) < 0.95 * farthest
    return scene.select(torch.from_numpy(near).to(scene.means.device))
