"""A 360-degree photograph as background and as image-based light."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

import cv2
import numpy as np

from scenewright_stages.vision.places.worlds.panorama import directions as directions_down
from scenewright_stages.vision.types import Float32Array

_STEEPNESS, _BRIGHTEST = 40.0, 24.0
"""Of the logarithm in which the pictures are packed."""
_LIGHTS = 24
_LOWEST = 0.12
"""Sine of the lowest elevation of a light: flatter ones would throw shadows across the whole picture."""


@dataclass(frozen=True, eq=False)
class Panorama:
    """An equirectangular photograph in linear light; its middle column is straight ahead, columns grow to the right.

    Attributes:
        picture: (512, 1024, 3) float32, the visible background.
        light: (64, 128, 3) float32, full dynamic range, for lighting.
    """

    picture: Float32Array
    light: Float32Array

    def turned(self, degrees: float) -> Panorama:
        """The panorama rotated to the right about the vertical axis."""
        share = degrees / 360.0
        shifted = [np.roll(each, round(share * each.shape[1]), axis=1) for each in (self.picture, self.light)]
        return Panorama(shifted[0], shifted[1])

    def seen(self, rays: Float32Array) -> Float32Array:
        """(H, W, 3) colours in the directions of (H, W, 3) rays of any length."""
        height, width = self.picture.shape[:2]
        columns = (np.arctan2(rays[..., 0], rays[..., 2]) / (2 * np.pi) + 0.5) * width - 0.5
        flat = np.hypot(rays[..., 0], rays[..., 2])
        rows = (0.5 - np.arctan2(rays[..., 1], flat) / np.pi) * height - 0.5
        found = cv2.remap(
            self.picture,
            columns.astype(np.float32),
            np.clip(rows, 0, height - 1).astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP,
        )
        return np.asarray(found, np.float32)

    def azimuth_of_brightest(self) -> float:
        """Direction of the strongest light on a table, in degrees to the right of straight ahead."""
        directions, areas = _directions(*self.light.shape[:2])
        weights = self.light.mean(axis=2) * areas * np.maximum(directions[..., 1], 0)
        total = (weights[..., None] * directions).reshape(-1, 3).sum(axis=0)
        return float(np.degrees(np.arctan2(total[0], total[2])))


@dataclass(frozen=True, eq=False)
class Illumination:
    """The light of a panorama on a table and on things standing there.

    Attributes:
        harmonics: (9, 3) irradiance over pi as a function of the normal, in spherical harmonics.
        directions: (N, 3) unit vectors towards the lights above the table.
        colours: (N, 3) irradiance over pi of each light on the table.
        spreads: (N,) half the angular size of each light, radians.
    """

    harmonics: Float32Array
    directions: Float32Array
    colours: Float32Array
    spreads: Float32Array

    @property
    def on_table(self) -> Float32Array:
        """(3,) irradiance over pi of the unshadowed table: the linear value of a white sheet lying on it."""
        return np.asarray(self.colours.sum(axis=0), np.float32)

    def on_normals(self, normals: Float32Array) -> Float32Array:
        """(..., 3) irradiance over pi of surfaces with unit (..., 3) normals."""
        return np.asarray(np.maximum(_basis(normals) @ self.harmonics, 1e-4), np.float32)


def illumination(panorama: Panorama, table_albedo: Float32Array) -> Illumination:
    """The light of a panorama whose lower half is occluded by a table of that (3,) albedo."""
    directions, areas = _directions(*panorama.light.shape[:2])
    above = directions[..., 1] > 0
    cosine = np.maximum(directions[..., 1], 0)
    table = (panorama.light * (areas * cosine)[..., None]).reshape(-1, 3).sum(axis=0) / np.pi
    arriving = np.where(above[..., None], panorama.light, (table * table_albedo)[None, None])
    basis = _basis(directions)
    # Lambert's cosine weakens each band: pi, 2 pi / 3, pi / 4 (Ramamoorthi and Hanrahan 2001).
    weakened = np.array([1.0] + [2 / 3] * 3 + [1 / 4] * 5, np.float32)
    coefficients = np.einsum("hwb,hwc,hw->bc", basis, arriving, areas) * weakened[:, None]
    found = list(_median_cut(panorama.light, directions, areas * cosine))
    colours = np.array([colour for _, colour, _ in found], np.float32) / np.float32(np.pi)
    return Illumination(
        coefficients.astype(np.float32),
        np.array([direction for direction, _, _ in found], np.float32),
        colours,
        np.array([spread for _, _, spread in found], np.float32),
    )


@cache
def place(name: str) -> Panorama:
    """One of the bundled 360-degree photographs."""
    folder = resources.files(__package__) / "places"
    packed = cv2.imdecode(np.frombuffer((folder / f"{name}.jpg").read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    values = np.asarray(packed)[..., ::-1].astype(np.float32) / np.float32(255)
    picture = np.expm1(values * np.float32(np.log1p(_STEEPNESS * _BRIGHTEST))) / np.float32(_STEEPNESS)
    with (folder / "lights.npz").open("rb") as file, np.load(file) as lights:
        return Panorama(np.ascontiguousarray(picture), lights[name].astype(np.float32))


def _directions(height: int, width: int) -> tuple[Float32Array, Float32Array]:
    """(H, W, 3) unit directions, y up, and (H, W) solid angles of the pixels."""
    flat = np.cos((0.5 - (np.arange(height) + 0.5) / height) * np.pi)[:, None]
    areas = np.broadcast_to(flat * (np.pi / height) * (2 * np.pi / width), (height, width))
    return directions_down(height) * np.array([1, -1, 1], np.float32), areas.astype(np.float32)


def _basis(n: Float32Array) -> Float32Array:
    """(..., 9) real spherical harmonics up to the second band."""
    x, y, z = n[..., 0], n[..., 1], n[..., 2]
    one = np.ones_like(x)
    return np.stack(
        [
            0.282095 * one,
            0.488603 * y,
            0.488603 * z,
            0.488603 * x,
            1.092548 * x * y,
            1.092548 * y * z,
            0.315392 * (3 * z * z - 1),
            1.092548 * x * z,
            0.546274 * (x * x - y * y),
        ],
        axis=-1,
    ).astype(np.float32)


def _median_cut(
    light: Float32Array, directions: Float32Array, weights: Float32Array
) -> Iterator[tuple[Float32Array, Float32Array, float]]:
    """Direction, colour and spread of lights of about equal power above the table (median cut, Debevec 2005)."""
    rows = np.flatnonzero(weights[:, 0] > 0)
    energy = light.mean(axis=2) * weights
    regions = [(int(rows[0]), int(rows[-1]) + 1, 0, light.shape[1])]
    while len(regions) < _LIGHTS:
        power = [energy[t:b, left:r].sum() if (b - t) * (r - left) > 1 else 0.0 for t, b, left, r in regions]
        regions += _halved(energy, *regions.pop(int(np.argmax(power))))
    for top, bottom, left, right in regions:
        part = np.s_[top:bottom, left:right]
        power, colour = energy[part], (light[part] * weights[part][..., None]).reshape(-1, 3).sum(axis=0)
        mean = (directions[part] * power[..., None]).reshape(-1, 3).sum(axis=0) / max(float(power.sum()), 1e-9)
        length = min(float(np.linalg.norm(mean)), 0.9999)
        mean[1] = max(mean[1], _LOWEST * length)
        yield mean / np.linalg.norm(mean), colour, float(np.arccos(length)) + 0.02


def _halved(energy: Float32Array, top: int, bottom: int, left: int, right: int) -> list[tuple[int, int, int, int]]:
    """Splits a region into two of equal power, across its longer side."""
    part = energy[top:bottom, left:right]
    if bottom - top >= right - left:
        at = top + _middle(part.sum(axis=1))
        return [(top, at, left, right), (at, bottom, left, right)]
    at = left + _middle(part.sum(axis=0))
    return [(top, bottom, left, at), (top, bottom, at, right)]


def _middle(power: Float32Array) -> int:
    total = np.cumsum(power)
    return int(np.clip(np.searchsorted(total, total[-1] / 2) + 1, 1, len(power) - 1))
