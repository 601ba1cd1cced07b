"""Draws a scene: table, what lies behind it, what stands on it, and the light that all of it shares.

The camera looks down on the object by the angle from which the object was photographed, so that its base lies flat on
the table. Everything is computed in linear light and leaves it once, at the end.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.colour import srgb_from_linear
from scenewright_stages.vision.scenery.panorama import Illumination, Panorama, illumination
from scenewright_stages.vision.scenery.photo_ground import PhotoGround
from scenewright_stages.vision.scenery.standing import Base, GroundLight, Solid, ground_light, solid_of
from scenewright_stages.vision.scenery.surfaces import TableTop, sampled

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_FOCAL = 1.15
"""Focal length over the image's longer side."""
_KEY = 0.82
"""Linear value of a white sheet on the table."""
_SHOULDER = 0.75
_BALANCED = 0.6
"""Share of the light's colour that the camera's white balance takes away."""
_SOLID = 0.5


@dataclass(frozen=True, eq=False)
class Cutout:
    """Something to stand on the table.

    Attributes:
        colours: (h, w, 3) float32 linear, valid a little way beyond the outline.
        alpha: (h, w) float32.
        normals: (h, w, 3) float32 unit vectors in world axes as seen in its own picture.
        base: where it meets the table.
        albedo: whether the colours are without light; a photo's have the light of its own place.
    """

    colours: Floats
    alpha: Floats
    normals: Floats
    base: Base
    albedo: bool = False


@dataclass(frozen=True, eq=False)
class Placed:
    """A cut-out in the scene: the pixel at which the middle of its base stands, and its enlargement."""

    cutout: Cutout
    column: float
    row: float
    scale: float
    seam: str = "none"


@dataclass(frozen=True, eq=False)
class Setting:
    """The empty scene.

    Attributes:
        width, height: of the image, pixels.
        pitch: degrees by which the camera looks down on the place of the object.
        column, row: pixel of that place.
        panorama: what is around, turned as wanted.
        table: its material.
        tile: side of the material's tile, world units (pixels at the object's place).
        turn: of the material, radians.
        edge: where the table ends behind the object, world units.
        defocus: blur of what is far behind, pixels.
        photo: what is seen instead of table and panorama, which then only lights.
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

    @property
    def focal(self) -> float:
        """Focal length, pixels; also the distance of the object, world units."""
        return _FOCAL * max(self.width, self.height)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A drawn scene.

    Attributes:
        pixels: (H, W, 3) float32 sRGB in [0, 1].
        covers: (H, W) float32 what of each placed thing is visible, in the order in which they were given.
        whole: (H, W) float32 what would be visible of it if nothing stood before it.
        light: direction (3,) toward the main light and its share of all light on the table.
    """

    pixels: Floats
    covers: list[Floats]
    whole: list[Floats]
    light: tuple[list[float], float]


@dataclass(frozen=True, eq=False)
class _Camera:
    """Rays of the pixels and where they meet the table."""

    rays: Floats
    position: Floats
    x: Floats = field(repr=False)
    z: Floats = field(repr=False)
    on_table: Mask = field(repr=False)


def draw(setting: Setting, things: Sequence[Placed]) -> Drawn:
    """The scene with the things on the table; nearer ones (lower in the picture) hide those behind."""
    camera = _camera(setting)
    light = illumination(setting.panorama, setting.table.mean)
    ground = _shadowed(setting, things, light)
    gains = _gains(light, setting.photo)
    if setting.photo is None:
        picture = _backdrop(setting, camera, light, ground) * gains
    else:
        picture = _on_photo(setting.photo, camera, ground)
    covers: list[Floats] = [np.zeros((setting.height, setting.width), np.float32) for _ in things]
    whole = [each.copy() for each in covers]
    for number in sorted(range(len(things)), key=lambda each: things[each].row):
        layer, alpha = _layer(setting, things[number], light, gains)
        alpha_shown = _joined(layer, alpha, picture, things[number].seam)
        picture = picture + alpha_shown[0][..., None] * (alpha_shown[1] - picture)
        for other in range(len(things)):
            covers[other] *= 1 - alpha
        covers[number], whole[number] = alpha.copy(), alpha
    return Drawn(srgb_from_linear(_developed(picture)), covers, whole, _main_light(light))


def facing_world(normals: Floats, pitch: float) -> Floats:
    """(h, w, 3) normals in world axes, of those in the frame of a camera that looks down (OpenCV axes)."""
    forward, up = _axes(pitch)
    turned = normals[..., 2:] * forward - normals[..., 1:2] * up
    turned[..., 0] += normals[..., 0]
    return np.asarray(turned, np.float32)


def local_scale(setting: Setting, row: float) -> float:
    """Enlargement of a thing whose base is at another row than the object's, from its distance."""
    depth = _depth_of_row(setting, row)
    return float(np.clip(setting.focal / depth, 0.4, 2.5))


def place_on_table(setting: Setting, x: float, z: float) -> tuple[float, float]:
    """Column and row of the pixel that shows a place of the table."""
    forward, up = _axes(_camera_pitch(setting))
    position = _position(setting, forward, up)
    away = np.array([x, 0.0, z]) - position
    depth = float(away @ forward)
    return (
        setting.width / 2 + setting.focal * float(away[0]) / depth,
        setting.height / 2 - setting.focal * float(away @ up) / depth,
    )


def _camera_pitch(setting: Setting) -> float:
    """Degrees by which the optical axis looks down: at the object's pixel it is the wanted pitch."""
    return setting.pitch - math.degrees(math.atan2(setting.row - setting.height / 2, setting.focal))


def _axes(pitch: float) -> tuple[Floats, Floats]:
    """Forward and up of a camera that looks down by `pitch` degrees."""
    sine, cosine = math.sin(math.radians(pitch)), math.cos(math.radians(pitch))
    return np.array([0, -sine, cosine], np.float32), np.array([0, cosine, sine], np.float32)


def _position(setting: Setting, forward: Floats, up: Floats) -> Floats:
    ray = forward * setting.focal + up * (setting.height / 2 - setting.row)
    ray[0] += setting.column - setting.width / 2
    return np.asarray(-ray, np.float32)


def _table_at(setting: Setting, column: float, row: float) -> tuple[float, float]:
    """The place of the table that a pixel shows, also beyond the border of the image."""
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
    """The light on the table among the things; None where nothing stands."""
    solids: list[Solid] = []
    for each in things:
        x, z = _table_at(setting, each.column, each.row)
        scale = each.scale * _depth_of_row(setting, each.row) / setting.focal
        solids.append(solid_of(each.cutout.alpha > _SOLID, each.cutout.base, x, z, scale))
    if not solids:
        return None
    first = things[0]
    return ground_light(solids, light, max(first.cutout.alpha.shape) * first.scale)


def _backdrop(setting: Setting, camera: _Camera, light: Illumination, ground: GroundLight | None) -> Floats:
    """(H, W, 3) table and surroundings, out of focus with distance."""
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


def _on_photo(photo: PhotoGround, camera: _Camera, ground: GroundLight | None) -> Floats:
    """(H, W, 3) the photo with the shadows of the things on its ground."""
    if ground is None:
        return photo.pixels
    left = np.clip(ground.at(camera.x, camera.z) / ground.unshadowed, 0, 1)
    share = camera.on_table.astype(np.float32)
    if photo.horizon is not None:
        # A shadow fades toward the line: a hard end would be seen.
        height = camera.x.shape[0]
        share *= np.clip((np.arange(height, dtype=np.float32)[:, None] - photo.horizon) / (0.12 * height), 0, 1)
    return np.asarray(photo.pixels * (1 - share[..., None] * (1 - left)), np.float32)


def _reflected(setting: Setting, camera: _Camera, light: Illumination, ground: GroundLight | None) -> Floats:
    """(H, W, 3) the surroundings in a glossy table, by Schlick's approximation; shadowed places reflect less."""
    mirrored = camera.rays * np.array([1, -1, 1], np.float32)
    blurred = cv2.GaussianBlur(np.minimum(setting.panorama.picture, 4.0), (0, 0), 28)
    seen = Panorama(np.asarray(blurred, np.float32), setting.panorama.light).seen(mirrored)
    cosine = np.clip(-camera.rays[..., 1] / np.linalg.norm(camera.rays, axis=-1), 0, 1)
    share = setting.table.gloss + (0.35 - setting.table.gloss) * (1 - cosine) ** 5
    if ground is not None:
        share = share * (ground.at(camera.x, camera.z).mean(axis=-1) / max(float(light.on_table.mean()), 1e-6))
    return np.asarray(seen * share[..., None], np.float32)


def _defocused(picture: Floats, amount: Floats, largest: float) -> Floats:
    """(H, W, 3) blurred by a standard deviation that changes over the picture, from four fixed blurs."""
    steps = [0.0, largest / 6, largest / 2.4, largest]
    levels = [picture, *(cv2.GaussianBlur(picture, (0, 0), step) for step in steps[1:])]
    result = levels[0].copy()
    for low, high, finer, coarser in zip(steps[:-1], steps[1:], levels[:-1], levels[1:], strict=True):
        share = np.clip((amount - low) / max(high - low, 1e-6), 0, 1)[..., None]
        within = (amount > low)[..., None]
        result = np.where(within, finer + share * (coarser - finer), result)
    return np.asarray(result, np.float32)


def _gains(light: Illumination, photo: PhotoGround | None) -> Floats:
    """(3,) exposure and white balance: a white sheet on the table becomes bright and nearly white.

    A photo has both already.
    """
    if photo is not None:
        return np.full(3, photo.exposure / max(float(light.on_table.mean()), 1e-9), np.float32)
    colour = light.on_table / max(float(light.on_table.mean()), 1e-9)
    return np.asarray(_KEY / max(float(light.on_table.mean()), 1e-9) / colour**_BALANCED, np.float32)


def _layer(setting: Setting, placed: Placed, light: Illumination, gains: Floats) -> tuple[Floats, Floats]:
    """(H, W, 3) colours and (H, W) alpha of a thing where it stands, in the scene's light."""
    cutout = placed.cutout
    factor = max(placed.scale, 1e-3)
    move = np.array(
        [
            [factor, 0, placed.column - factor * cutout.base.column],
            [0, factor, placed.row - factor * cutout.base.row],
        ],
        np.float32,
    )
    arriving = light.on_normals(cutout.normals) * gains
    lit = cutout.colours * (arriving if cutout.albedo else _relative(arriving, cutout.alpha))
    return warped_layer(lit, cutout.alpha, move, factor, (setting.width, setting.height))


def warped_layer(
    colours: Floats, alpha: Floats, move: NDArray[np.floating], factor: float, size: tuple[int, int]
) -> tuple[Floats, Floats]:
    """(H, W, 3) colours and (H, W) cover of a cut-out after a move.

    Args:
        colours: (h, w, 3), continued beyond the cut-out's rim.
        alpha: (h, w).
        move: (2, 3) from its pixels to those of the layer.
        factor: how much it is enlarged by that.
        size: width and height of the layer.
    """
    if factor < 0.9:
        # A warp reads four pixels only: what is made smaller is smoothed first.
        sigma = 0.42 / factor
        colours = np.asarray(cv2.GaussianBlur(colours, (0, 0), sigma), np.float32)
        alpha = np.asarray(cv2.GaussianBlur(alpha, (0, 0), sigma), np.float32)
    layer = cv2.warpAffine(colours, move, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpAffine(alpha, move, size, flags=cv2.INTER_LINEAR)
    return np.asarray(layer, np.float32), np.clip(cover, 0, 1).astype(np.float32)


def _relative(arriving: Floats, alpha: Floats) -> Floats:
    """(h, w, 3) what the new light changes of a photo: its colour and direction, and a part of its strength."""
    weights = alpha / max(float(alpha.sum()), 1e-6)
    mean = np.einsum("hwc,hw->c", arriving, weights)
    grey = max(float(mean.mean()), 1e-6)
    level = float(np.clip(grey / _KEY, 0.35, 1.15)) ** 0.75
    tint = (mean / grey) ** 0.9
    return np.asarray(level * tint * np.clip(arriving / mean, 0.15, 2.2) ** 0.85, np.float32)


def _joined(layer: Floats, alpha: Floats, picture: Floats, seam: str) -> tuple[Floats, Floats]:
    """Alpha and colours with which a thing is laid over the picture."""
    if seam == "feather":
        return np.minimum(alpha, cv2.GaussianBlur(alpha, (0, 0), 0.9) * 1.05), layer
    if seam == "poisson":
        return alpha, _drawn_to(layer, alpha, picture)
    return alpha, layer


def _drawn_to(layer: Floats, alpha: Floats, picture: Floats, width: int = 4, share: float = 0.3) -> Floats:
    """The layer, its outermost pixels drawn toward the picture by a membrane that ends `width` pixels inside."""
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


def _developed(linear: Floats) -> Floats:
    """Highlights roll off instead of clipping."""
    high = _SHOULDER + (1 - _SHOULDER) * (1 - np.exp(-(np.maximum(linear, _SHOULDER) - _SHOULDER) / (1 - _SHOULDER)))
    return np.clip(np.where(linear > _SHOULDER, high, linear), 0, 1).astype(np.float32)


def _main_light(light: Illumination) -> tuple[list[float], float]:
    """Direction toward the strongest light and the share of the table's light that comes from around there."""
    power = light.colours.mean(axis=1)
    weights = power**2
    mean = (light.directions * weights[:, None]).sum(axis=0)
    mean = mean / max(float(np.linalg.norm(mean)), 1e-9)
    near = light.directions @ mean > math.cos(math.radians(25))
    return [round(float(value), 4) for value in mean], round(float(power[near].sum() / power.sum()), 4)
