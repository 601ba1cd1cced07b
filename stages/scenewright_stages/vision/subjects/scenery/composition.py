"""Renders a scene: table, background, the things on the table, and their common lighting.

The camera has the pitch from which the object was photographed, so that its base lies flat on the table. Everything is
computed in linear light and converted once, at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.imaging.colour import srgb_from_linear
from scenewright_stages.vision.subjects.scenery.panorama import Illumination, Panorama, illumination
from scenewright_stages.vision.subjects.scenery.photo_ground import PhotoGround
from scenewright_stages.vision.subjects.scenery.standing import Base, GroundLight, Solid, ground_light, solid_of
from scenewright_stages.vision.subjects.scenery.surfaces import TableTop, sampled
from scenewright_stages.vision.types import Float32Array, Mask

_FOCAL = 1.15
"""Focal length over the image's longer side."""
_KEY = 0.82
"""Linear value of a white sheet on the table."""
_SHOULDER = 0.75
_BALANCED = 0.6
"""Share of the light's colour that the camera's white balance takes away."""
_SOLID = 0.5
_ROOMIEST = 1.5
"""Longer side of a cut-out's picture over that of the thing in it, at most, from which sizes in a scene follow."""


@dataclass(frozen=True, eq=False)
class Cutout:
    """A thing to place on the table.

    Attributes:
        colours: (h, w, 3) float32 linear, valid slightly beyond the outline.
        alpha: (h, w) float32.
        normals: (h, w, 3) float32 unit vectors in world axes, as seen in its own image.
        base: where it meets the table.
        albedo: whether the colours are free of lighting; a photo's colours include its original light.
    """

    colours: Float32Array
    alpha: Float32Array
    normals: Float32Array
    base: Base
    albedo: bool = False


@dataclass(frozen=True, eq=False)
class Placed:
    """A cut-out in the scene: the pixel position of its base's centre, and its scale."""

    cutout: Cutout
    column: float
    row: float
    scale: float
    seam: str = "none"

    def move(self) -> Float32Array:
        """(2, 3) affine map from the cut-out's pixels to those of the scene."""
        factor, base = max(self.scale, 1e-3), self.cutout.base
        return np.array(
            [[factor, 0, self.column - factor * base.column], [0, factor, self.row - factor * base.row]], np.float32
        )

    @property
    def side(self) -> float:
        """Longer side in the scene, with the room around it; never more than the thing itself accounts for."""
        rows, columns = (
            np.flatnonzero((self.cutout.alpha > 0.5).any(axis=1)),
            np.flatnonzero((self.cutout.alpha > 0.5).any(axis=0)),
        )
        extent = max(int(np.ptp(rows)), int(np.ptp(columns))) + 1 if len(rows) else 1
        return float(min(max(self.cutout.alpha.shape), _ROOMIEST * extent) * self.scale)


@dataclass(frozen=True, eq=False)
class Setting:
    """The empty scene.

    Attributes:
        width, height: of the image, pixels.
        pitch: degrees by which the camera looks down on the object's position.
        column, row: pixel of that position.
        panorama: the surroundings, already rotated.
        table: its material.
        tile: side of the material's tile, world units (pixels at the object's position).
        turn: rotation of the material, radians.
        edge: where the table ends behind the object, world units.
        defocus: blur of the far background, pixels.
        photo: background shown instead of table and panorama; the panorama is then only a light.
        exposure: gains of linear red, green and blue by which the camera's exposure and white balance differ from those
            that suit the light on the table.
    """

    width: int
    height: int
    pitch: float
    column: float
    row: float
    panorama: Panorama
    table: TableTop
    tile: float
    turn: float
    edge: float
    defocus: float
    photo: PhotoGround | None = None
    exposure: tuple[float, float, float] = (1.0, 1.0, 1.0)

    @property
    def focal(self) -> float:
        """Focal length, pixels; also the distance of the object, world units."""
        return _FOCAL * max(self.width, self.height)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A rendered scene.

    Attributes:
        pixels: (H, W, 3) float32 sRGB in [0, 1].
        covers: (H, W) float32 visible coverage of each thing, in input order.
        whole: (H, W) float32 coverage of each thing without occlusion.
        light: direction (3,) toward the main light and its share of all light on the table.
    """

    pixels: Float32Array
    covers: list[Float32Array]
    whole: list[Float32Array]
    light: tuple[list[float], float]


@dataclass(frozen=True, eq=False)
class _Camera:
    """Pixel rays and their intersections with the table."""

    rays: Float32Array
    position: Float32Array
    x: Float32Array = field(repr=False)
    z: Float32Array = field(repr=False)
    on_table: Mask = field(repr=False)


def draw(setting: Setting, things: Sequence[Placed]) -> Drawn:
    """Renders the scene with the things on the table; nearer things (lower in the image) occlude others."""
    camera = _camera(setting)
    light = illumination(setting.panorama, setting.table.mean)
    ground = _shadowed(setting, things, light)
    gains = _gains(light, setting.photo)
    if setting.photo is None:
        picture = _backdrop(setting, camera, light, ground) * gains
    else:
        picture = _on_photo(setting.photo, camera, ground)
    covers: list[Float32Array] = [np.zeros((setting.height, setting.width), np.float32) for _ in things]
    whole = [each.copy() for each in covers]
    for number in sorted(range(len(things)), key=lambda each: things[each].row):
        layer, alpha = _layer(setting, things[number], light, gains)
        alpha_shown = _joined(layer, alpha, picture, things[number].seam)
        picture = picture + alpha_shown[0][..., None] * (alpha_shown[1] - picture)
        for other in range(len(things)):
            covers[other] *= 1 - alpha
        covers[number], whole[number] = alpha.copy(), alpha
    developed = _developed(picture * np.array(setting.exposure, np.float32))
    return Drawn(srgb_from_linear(developed), covers, whole, _main_light(light))


def facing_world(normals: Float32Array, pitch: float) -> Float32Array:
    """(h, w, 3) normals in world axes, from normals in the frame of a pitched camera (OpenCV axes)."""
    forward, up = _axes(pitch)
    turned = normals[..., 2:] * forward - normals[..., 1:2] * up
    turned[..., 0] += normals[..., 0]
    return np.asarray(turned, np.float32)


def local_scale(setting: Setting, row: float) -> float:
    """Perspective scale of a thing whose base is at the given row, relative to the object's."""
    depth = _depth_of_row(setting, row)
    return float(np.clip(setting.focal / depth, 0.4, 2.5))


def place_on_table(setting: Setting, x: float, z: float) -> tuple[float, float]:
    """Pixel column and row of a table position."""
    forward, up = _axes(_camera_pitch(setting))
    position = _position(setting, forward, up)
    away = np.array([x, 0.0, z]) - position
    depth = float(away @ forward)
    return (
        setting.width / 2 + setting.focal * float(away[0]) / depth,
        setting.height / 2 - setting.focal * float(away @ up) / depth,
    )


def _camera_pitch(setting: Setting) -> float:
    """Pitch of the optical axis in degrees, such that the ray through the object's pixel has the wanted pitch."""
    return setting.pitch - math.degrees(math.atan2(setting.row - setting.height / 2, setting.focal))


def _axes(pitch: float) -> tuple[Float32Array, Float32Array]:
    """Forward and up vectors of a camera with that downward pitch in degrees."""
    sine, cosine = math.sin(math.radians(pitch)), math.cos(math.radians(pitch))
    return np.array([0, -sine, cosine], np.float32), np.array([0, cosine, sine], np.float32)


def _position(setting: Setting, forward: Float32Array, up: Float32Array) -> Float32Array:
    ray = forward * setting.focal + up * (setting.height / 2 - setting.row)
    ray[0] += setting.column - setting.width / 2
    return np.asarray(-ray, np.float32)


def _table_at(setting: Setting, column: float, row: float) -> tuple[float, float]:
    """The table position at a pixel, which may lie outside the image."""
    forward, up = _axes(_camera_pitch(setting))
    position = _position(setting, forward, up)
    ray = forward * setting.focal + up * (setting.height / 2 - row)
    ray[0] += column - setting.width / 2
    reach = -float(position[1]) / min(float(ray[1]), -1e-3)
    return float(position[0] + reach * ray[0]), float(position[2] + reach * ray[2])


def _depth_of_row(setting: Setting, row: float) -> float:
    """Distance along the optical axis of the table at a row."""
    forward, up = _axes(_camera_pitch(setting))
    position = _position(setting, forward, up)
    ray = forward * setting.focal + up * (setting.height / 2 - row)
    return float(-position[1] / min(ray[1], -1e-3) * setting.focal)


def _camera(setting: Setting) -> _Camera:
    forward, up = _axes(_camera_pitch(setting))
    position = _position(setting, forward, up)
    columns = np.arange(setting.width, dtype=np.float32) + 0.5 - setting.width / 2
    rows = setting.height / 2 - np.arange(setting.height, dtype=np.float32) - 0.5
    rays = np.zeros((setting.height, setting.width, 3), np.float32)
    rays += forward * setting.focal
    rays += rows[:, None, None] * up
    rays[..., 0] += columns[None, :]
    downward = rays[..., 1] < -1e-3
    reach = np.where(downward, -position[1] / np.minimum(rays[..., 1], -1e-3), 0)
    x, z = position[0] + reach * rays[..., 0], position[2] + reach * rays[..., 2]
    return _Camera(rays, position, x, z, downward & (z < setting.edge))


def _shadowed(setting: Setting, things: Sequence[Placed], light: Illumination) -> GroundLight | None:
    """The light on the table with the things' shadows; None without things."""
    solids: list[Solid] = []
    for each in things:
        x, z = _table_at(setting, each.column, each.row)
        scale = each.scale * _depth_of_row(setting, each.row) / setting.focal
        solids.append(solid_of(each.cutout.alpha > _SOLID, each.cutout.base, x, z, scale))
    if not solids:
        return None
    first = things[0]
    return ground_light(solids, light, first.side)


def _backdrop(setting: Setting, camera: _Camera, light: Illumination, ground: GroundLight | None) -> Float32Array:
    """(H, W, 3) table and surroundings, with defocus increasing with distance."""
    behind = setting.panorama.seen(camera.rays)
    albedo = sampled(setting.table.tile, camera.x, camera.z, setting.tile, setting.turn)
    table = albedo * (light.on_table if ground is None else ground.at(camera.x, camera.z))
    if setting.table.gloss > 0:
        table = table + _reflected(setting, camera, light, ground)
    soft_edge = np.clip((setting.edge - camera.z) / 3.0, 0, 1) * camera.on_table
    picture = behind + soft_edge[..., None] * (table - behind)
    amount = (
        np.where(camera.on_table, np.abs(camera.z) / (np.abs(camera.z) + 2.2 * setting.focal), 1.0) * setting.defocus
    )
    return _defocused(picture.astype(np.float32), amount.astype(np.float32), setting.defocus)


def _on_photo(photo: PhotoGround, camera: _Camera, ground: GroundLight | None) -> Float32Array:
    """(H, W, 3) the photo with the shadows of the things on its ground."""
    if ground is None:
        return photo.pixels
    left = np.clip(ground.at(camera.x, camera.z) / ground.unshadowed, 0, 1)
    share = camera.on_table.astype(np.float32)
    if photo.horizon is not None:
        # Fade shadows towards the horizon, where a hard end would be visible.
        height = camera.x.shape[0]
        share *= np.clip((np.arange(height, dtype=np.float32)[:, None] - photo.horizon) / (0.12 * height), 0, 1)
    return np.asarray(photo.pixels * (1 - share[..., None] * (1 - left)), np.float32)


def _reflected(setting: Setting, camera: _Camera, light: Illumination, ground: GroundLight | None) -> Float32Array:
    """(H, W, 3) reflection of the surroundings in a glossy table (Schlick's approximation), weaker in shadow."""
    mirrored = camera.rays * np.array([1, -1, 1], np.float32)
    blurred = cv2.GaussianBlur(np.minimum(setting.panorama.picture, 4.0), (0, 0), 28)
    seen = Panorama(np.asarray(blurred, np.float32), setting.panorama.light).seen(mirrored)
    cosine = np.clip(-camera.rays[..., 1] / np.linalg.norm(camera.rays, axis=-1), 0, 1)
    share = setting.table.gloss + (0.35 - setting.table.gloss) * (1 - cosine) ** 5
    if ground is not None:
        share = share * (ground.at(camera.x, camera.z).mean(axis=-1) / max(float(light.on_table.mean()), 1e-6))
    return np.asarray(seen * share[..., None], np.float32)


def _defocused(picture: Float32Array, amount: Float32Array, largest: float) -> Float32Array:
    """(H, W, 3) blurred with a spatially varying standard deviation, interpolated from four fixed blurs."""
    steps = [0.0, largest / 6, largest / 2.4, largest]
    levels = [picture, *(cv2.GaussianBlur(picture, (0, 0), step) for step in steps[1:])]
    result = levels[0].copy()
    for low, high, finer, coarser in zip(steps[:-1], steps[1:], levels[:-1], levels[1:], strict=True):
        share = np.clip((amount - low) / max(high - low, 1e-6), 0, 1)[..., None]
        within = (amount > low)[..., None]
        result = np.where(within, finer + share * (coarser - finer), result)
    return np.asarray(result, np.float32)


def _gains(light: Illumination, photo: PhotoGround | None) -> Float32Array:
    """(3,) exposure and white balance, such that a white sheet on the table becomes bright and nearly white.

    A photo already has both.
    """
    if photo is not None:
        return np.full(3, photo.exposure / max(float(light.on_table.mean()), 1e-9), np.float32)
    colour = light.on_table / max(float(light.on_table.mean()), 1e-9)
    return np.asarray(_KEY / max(float(light.on_table.mean()), 1e-9) / colour**_BALANCED, np.float32)


def _layer(
    setting: Setting, placed: Placed, light: Illumination, gains: Float32Array
) -> tuple[Float32Array, Float32Array]:
    """(H, W, 3) colours and (H, W) alpha of a thing at its position, in the scene's light."""
    cutout = placed.cutout
    move = placed.move()
    factor = float(move[0, 0])
    arriving = light.on_normals(cutout.normals) * gains
    lit = cutout.colours * (arriving if cutout.albedo else _relative(arriving, cutout.alpha))
    return warped_layer(lit, cutout.alpha, move, factor, (setting.width, setting.height))


def warped_layer(
    colours: Float32Array, alpha: Float32Array, move: NDArray[np.floating], factor: float, size: tuple[int, int]
) -> tuple[Float32Array, Float32Array]:
    """(H, W, 3) colours and (H, W) coverage of a warped cut-out.

    Args:
        colours: (h, w, 3), extended beyond the cut-out's edge.
        alpha: (h, w).
        move: (2, 3) affine map from its pixels to those of the layer.
        factor: scale of that map.
        size: width and height of the layer.
    """
    if factor < 0.9:
        # Smooth before shrinking, because a warp interpolates only four pixels.
        sigma = 0.42 / factor
        colours = np.asarray(cv2.GaussianBlur(colours, (0, 0), sigma), np.float32)
        alpha = np.asarray(cv2.GaussianBlur(alpha, (0, 0), sigma), np.float32)
    layer = cv2.warpAffine(colours, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(alpha, move, size, flags=cv2.INTER_LINEAR)
    return np.asarray(layer, np.float32), np.clip(cover, 0, 1).astype(np.float32)


def _relative(arriving: Float32Array, alpha: Float32Array) -> Float32Array:
    """(h, w, 3) relighting factor for a photo: the new light's colour and direction, and part of its strength."""
    weights = alpha / max(float(alpha.sum()), 1e-6)
    mean = np.einsum("hwc,hw->c", arriving, weights)
    grey = max(float(mean.mean()), 1e-6)
    level = float(np.clip(grey / _KEY, 0.35, 1.15)) ** 0.75
    tint = (mean / grey) ** 0.9
    return np.asarray(level * tint * np.clip(arriving / mean, 0.15, 2.2) ** 0.85, np.float32)


def _joined(
    layer: Float32Array, alpha: Float32Array, picture: Float32Array, seam: str
) -> tuple[Float32Array, Float32Array]:
    """Alpha and colours for compositing a thing over the image."""
    if seam == "feather":
        return np.minimum(alpha, cv2.GaussianBlur(alpha, (0, 0), 0.9) * 1.05), layer
    if seam == "poisson":
        return alpha, _drawn_to(layer, alpha, picture)
    return alpha, layer


def _drawn_to(
    layer: Float32Array, alpha: Float32Array, picture: Float32Array, width: int = 4, share: float = 0.3
) -> Float32Array:
    """The layer with its outermost pixels blended towards the image, by a membrane that ends `width` pixels inside."""
    inside = (alpha > _SOLID).astype(np.uint8)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, 3)
    band = (depth > 0) & (depth <= width)
    if not band.any():
        return layer
    correction = np.where((depth <= 1)[..., None], share * (np.minimum(picture, 1.2) - layer), 0).astype(np.float32)
    fixed = correction.copy()
    ring = (depth > 0) & (depth <= 1)
    for _ in range(3 * width):
        correction = np.where(ring[..., None], fixed, cv2.blur(correction, (3, 3)))
        correction[~band & ~ring] = 0
    return np.asarray(layer + correction * inside[..., None], np.float32)


def _developed(linear: Float32Array) -> Float32Array:
    """Tone curve: highlights roll off instead of clipping."""
    high = _SHOULDER + (1 - _SHOULDER) * (1 - np.exp(-(np.maximum(linear, _SHOULDER) - _SHOULDER) / (1 - _SHOULDER)))
    return np.clip(np.where(linear > _SHOULDER, high, linear), 0, 1).astype(np.float32)


def _main_light(light: Illumination) -> tuple[list[float], float]:
    """Direction towards the strongest light, and the share of the table's light from around that direction."""
    power = light.colours.mean(axis=1)
    weights = power**2
    mean = (light.directions * weights[:, None]).sum(axis=0)
    mean = mean / max(float(np.linalg.norm(mean)), 1e-9)
    near = light.directions @ mean > math.cos(math.radians(25))
    return [round(float(value), 4) for value in mean], round(float(power[near].sum() / power.sum()), 4)
