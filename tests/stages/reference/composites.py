"""Objects in drawn scenes with exact masks, among other things that may have their colours; or without the object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image
from teaching_world import photo as tin_photo

from scenewright_stages.photographs.pictures import bytes_from_unit, unit_from_bytes
from scenewright_stages.reference.companions import thing_at
from scenewright_stages.reference.params import PLACES, SURFACES, ScenesParams
from scenewright_stages.reference.perspectives import _framed
from scenewright_stages.reference.scenes import UserPictures, setting_of, with_noise
from scenewright_stages.reference.wording import Fields
from scenewright_stages.vision.geometry.normals import inflated_normals
from scenewright_stages.vision.imaging.matting import refine_matte
from scenewright_stages.vision.subjects.relief import thickness_at, turned
from scenewright_stages.vision.subjects.scenery.composition import Cutout, Placed, Setting, draw, facing_world
from scenewright_stages.vision.subjects.scenery.standing import base_of

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

ROOT = Path(__file__).parents[3]
YAWS = (-30.0, -15.0, 0.0, 15.0, 30.0)


@dataclass(frozen=True, eq=False)
class Thing:
    """A photographed object: (H, W, 3) sRGB in [0, 1], its matte, and the views of it that scenes show."""

    name: str
    srgb: Floats
    alpha: Floats
    views: Sequence[Cutout]


@dataclass(frozen=True, eq=False)
class Composite:
    """A scene: (H, W, 3) sRGB in [0, 1], and the visible part of the object; empty when it is absent."""

    srgb: Floats
    mask: Mask


def thing(name: str) -> Thing:
    """The cup of the examples, a flower, a ray-cast tin, or a marbled ball."""
    photo, mask = {"coffee": _coffee, "flower": _flower, "tin": tin_photo, "marble": _marble}[name]()
    srgb = unit_from_bytes(np.ascontiguousarray(photo))
    alpha = refine_matte(srgb, mask, max(2, round(0.006 * max(mask.shape))))
    linear, cover, _ = _framed(np.ascontiguousarray(photo), bytes_from_unit(alpha))
    pitch = base_of(cover >= 0.5).pitch
    views = []
    for number, yaw in enumerate(YAWS):
        elevation = (0.0, 6.0)[number % 2]
        front, inside = turned(linear, cover, yaw, elevation, thickness_at(pitch))
        base = base_of(inside >= 0.5, float(np.clip(pitch + elevation, 4, 80)))
        normals = facing_world(inflated_normals(inside, front.mean(axis=2), 0.0), base.pitch)
        views.append(Cutout(front, inside, normals, base))
    return Thing(name, srgb, alpha, views)


def composite(shown: Thing, seed: int, alike: bool, absent: bool, side: int = 480) -> Composite:
    """One scene on a table.

    Args:
        shown: the object.
        seed: of all draws.
        alike: the other things have the object's colours.
        absent: the object is not there, but the other things are.
        side: of the image, pixels.
    """
    rng = np.random.default_rng([seed, 11])
    view = shown.views[rng.integers(len(shown.views))]
    block = ScenesParams(size=[side, side])
    surface = SURFACES[rng.integers(len(SURFACES))]
    place = PLACES[rng.integers(len(PLACES))]
    fields = Fields("", place, surface, "", float(rng.uniform(-180, 180)), float(rng.uniform()), 0.5)
    setting, scale = setting_of(block, view, fields, UserPictures(None, ()), rng)
    placed = Placed(view, setting.column, setting.row, scale)
    extent = max(view.alpha.shape) * scale
    others = [_other(setting, extent, view, alike, number, rng) for number in range(int(rng.integers(1, 4)))]
    drawn = draw(setting, others if absent else [placed, *others])
    image = unit_from_bytes(with_noise(drawn.pixels, float(rng.uniform(0.4, 2.2)), rng))
    mask = np.zeros((side, side), bool) if absent else drawn.covers[0] >= 0.5
    return Composite(image, mask)


def _other(setting: Setting, extent: float, view: Cutout, alike: bool, number: int, rng: np.random.Generator) -> Placed:
    x = (-1) ** number * float(rng.uniform(0.6, 1.1)) * extent
    z = float(rng.uniform(-0.1, 0.5)) * min(extent, 0.8 * setting.edge)
    colours = view.colours[view.alpha > 0.9]
    colour = colours[rng.integers(len(colours))] if alike else None
    return thing_at(setting, (x, z), float(rng.uniform(0.4, 0.8)) * extent, (), rng, colour)


def _coffee() -> tuple[Bytes, Mask]:
    folder = ROOT / "examples" / "inputs"
    photo = cv2.imread(str(folder / "coffee.png"))[..., ::-1]
    return np.asarray(photo, np.uint8), cv2.imread(str(folder / "coffee.mask.png"), cv2.IMREAD_GRAYSCALE) > 127


def _flower() -> tuple[Bytes, Mask]:
    mask = cv2.imread(str(Path(__file__).with_name("flower.mask.png")), cv2.IMREAD_GRAYSCALE) > 127
    return np.asarray(load_sample_image("flower.jpg"), np.uint8), mask


def _marble() -> tuple[Bytes, Mask]:
    """A ball with a pattern, lit from the left, before grey."""
    side, radius = 320, 120.0
    y, x = np.mgrid[-side / 2 : side / 2, -side / 2 : side / 2] + 0.5
    inside = x**2 + y**2 < radius**2
    depth = np.sqrt(np.maximum(radius**2 - x**2 - y**2, 0))
    noise = np.random.default_rng(4).uniform(0, 1, (side // 4, side // 4, 3)).astype(np.float32)
    pattern = cv2.GaussianBlur(noise, (0, 0), 3.0)
    pattern = (pattern - pattern.min()) / np.ptp(pattern)
    columns = (np.arctan2(x, depth + 1e-6) / np.pi + 0.5) * (side // 4 - 1)
    rows = (y / radius * 0.5 + 0.5) * (side // 4 - 1)
    colours = cv2.remap(pattern, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR)
    shade = 0.35 + 0.65 * np.clip((-0.5 * x - 0.5 * y + 0.7 * depth) / radius, 0, 1)
    picture = np.where(inside[..., None], 0.15 + 0.8 * colours, 0.75) * np.where(inside, shade, 1)[..., None]
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8), inside
