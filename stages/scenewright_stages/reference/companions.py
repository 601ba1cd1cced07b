"""Adds other things to a scene: decoys beside the object and occluders in front, drawn or from the user's cut-outs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.photographs.pictures import linear_from_bytes, unit_from_bytes
from scenewright_stages.reference.params import ScenesParams
from scenewright_stages.reference.wording import Fields
from scenewright_stages.vision.geometry.normals import inflated_normals
from scenewright_stages.vision.subjects.scenery import props
from scenewright_stages.vision.subjects.scenery.composition import (
    Cutout,
    Placed,
    Setting,
    facing_world,
    local_scale,
    place_on_table,
)
from scenewright_stages.vision.subjects.scenery.standing import base_of
from scenewright_stages.vision.types import Float32Array

ENDINGS = (".png", ".webp")
_LARGEST = 512
_LEAST_PIXELS = 64
_ALIKE, _HALF_HIDDEN = 0.5, 0.3
"""Share of the drawn decoys in the object's colours, and of those that the object partly hides. Without them a network
learns that whatever has these colours, or touches the object, belongs to it.
"""


@dataclass(frozen=True, eq=False)
class Companion:
    """A cut-out that can be placed in a scene."""

    cutout: Cutout

    @property
    def side(self) -> int:
        """Its longer side in pixels."""
        return int(max(self.cutout.alpha.shape))


def read_companions(folder: Path, field_value: str) -> list[Companion]:
    """The cut-outs of a folder, by name.

    Args:
        folder: with PNG or WebP files that have an alpha channel.
        field_value: what the manifest says, for messages.

    Raises:
        ConfigurationError: the folder has no cut-outs, or a file is not one.
    """
    field = "spec.referenceObject.scenes.things"
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if not paths:
        raise ConfigurationError(field, field_value, "holds no cut-out: PNG or WebP files with transparency")
    found = []
    for path in paths:
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if pixels is None or pixels.ndim != 3 or pixels.shape[2] != 4 or pixels.dtype != np.uint8:
            raise ConfigurationError(field, field_value, f"{path.name} is not a cut-out: 8 bits and an alpha channel")
        if int((pixels[..., 3] >= 128).sum()) < _LEAST_PIXELS or pixels[..., 3].min() >= 128:
            raise ConfigurationError(field, field_value, f"{path.name} is empty or nowhere transparent")
        found.append(_companion(np.asarray(pixels, np.uint8)))
    return found


def companions(
    block: ScenesParams,
    setting: Setting,
    placed: Placed,
    fields: Fields,
    things: Sequence[Companion],
    rng: np.random.Generator,
) -> tuple[list[Placed], int]:
    """Decoys beside and behind the object, occluders in front of it, and the number of occluders.

    Args:
        block: numbers and probabilities.
        setting: the scene.
        placed: the object.
        fields: of the prompt; they set how crowded the scene is.
        things: the user's cut-outs; if empty, things are drawn.
        rng: for all random draws.
    """
    low, high = block.decoys
    count = round(low + (high - low) * min(1.0, max(0.0, fields.clutter + float(rng.uniform(-0.25, 0.25)))))
    side = placed.side
    found = [_place_beside(setting, placed, side, things, rng) for _ in range(count)]
    occluded = int(rng.uniform() < block.occluder_probability)
    return [*found, *(_before(setting, side, things, rng) for _ in range(occluded))], occluded


def _companion(pixels: NDArray[np.uint8]) -> Companion:
    """A cut-out of (H, W, 4) BGRA pixels."""
    factor = _LARGEST / max(pixels.shape[:2])
    if factor < 1:
        pixels = np.asarray(cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
    rows, columns = np.flatnonzero(pixels[..., 3].any(axis=1)), np.flatnonzero(pixels[..., 3].any(axis=0))
    # Pad, so that the outline does not touch the border.
    cut = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    alpha = np.pad(cut[..., 3], 2)
    colours = np.pad(np.ascontiguousarray(cut[..., 2::-1]), ((2, 2), (2, 2), (0, 0)), mode="edge")
    filled = _edge_colours(colours, alpha)
    cover = unit_from_bytes(alpha)
    base = base_of(alpha >= 128)
    normals = facing_world(inflated_normals(cover, unit_from_bytes(filled).mean(axis=2), 0.0), base.pitch)
    return Companion(Cutout(linear_from_bytes(filled), cover, normals, base))


def _edge_colours(colours: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Extends the colours into transparent pixels, whose stored colours are arbitrary."""
    outside = (alpha < 250).astype(np.uint8)
    if outside.all():
        return colours
    _, nearest = cv2.distanceTransformWithLabels(outside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    palette = np.zeros((int(nearest.max()) + 1, 3), np.uint8)
    palette[nearest[outside == 0]] = colours[outside == 0]
    return np.ascontiguousarray(palette[nearest])


def _place_beside(
    setting: Setting, placed: Placed, side: float, things: Sequence[Companion], rng: np.random.Generator
) -> Placed:
    """A decoy next to or behind the object; some drawn decoys share its colours."""
    room = min(side, setting.edge * 0.8)
    if setting.photo is not None:
        # The extent of a photo's ground is unknown, so a thing far behind could float.
        away, across = (-0.04, 0.15), (0.62, 1.15)
    elif rng.uniform() < _HALF_HIDDEN:
        away, across = (0.55 * room / side, 0.8 * room / side), (0.15, 0.62)
    else:
        away, across = (-0.15 * room / side, 0.6 * room / side), (0.62, 1.15)
    x = float(rng.choice([-1, 1]) * rng.uniform(*across)) * side
    z = float(rng.uniform(*away)) * side
    inside = placed.cutout.alpha > 0.9
    colours = placed.cutout.colours[inside]
    alike = np.asarray(colours[rng.integers(len(colours))]) if rng.uniform() < _ALIKE and len(colours) else None
    return thing_at(setting, (x, z), float(rng.uniform(0.3, 0.75)) * side, things, rng, alike)


def _before(setting: Setting, side: float, things: Sequence[Companion], rng: np.random.Generator) -> Placed:
    """An occluder that hides part of the object."""
    x = float(rng.choice([-1, 1]) * rng.uniform(0.25, 0.55)) * side
    z = -float(rng.uniform(0.45, 0.75)) * side
    return thing_at(setting, (x, z), float(rng.uniform(0.3, 0.5)) * side, things, rng, None)


def thing_at(
    setting: Setting,
    place: tuple[float, float],
    side: float,
    things: Sequence[Companion],
    rng: np.random.Generator,
    colour: Float32Array | None,
) -> Placed:
    """A thing at a table position (across, away; pixels at the object's depth), `side` pixels large there."""
    column, row = place_on_table(setting, *place)
    if things:
        thing = things[int(rng.integers(len(things)))]
        return Placed(thing.cutout, column, row, side / thing.side * local_scale(setting, row), "feather")
    prop = props.draw_prop(rng, side, setting.pitch, colour)
    cutout = Cutout(prop.colours, prop.alpha, prop.normals, prop.base, albedo=True)
    return Placed(cutout, column, row, local_scale(setting, row))
