"""Procedural table tops: wood, stone and cloth as seamless tiles of linear colour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from scenewright_stages.vision.types import Float32Array

_SIDE = 768
"""Pixels of a tile."""
_WOODS = (
    ((0.34, 0.19, 0.09), (0.16, 0.075, 0.03)),
    ((0.52, 0.36, 0.20), (0.30, 0.18, 0.085)),
    ((0.14, 0.075, 0.04), (0.055, 0.028, 0.016)),
    ((0.62, 0.50, 0.34), (0.42, 0.31, 0.19)),
    ((0.40, 0.33, 0.26), (0.20, 0.16, 0.12)),
)
_STONES = (
    ((0.60, 0.59, 0.57), (0.33, 0.33, 0.33)),
    ((0.10, 0.10, 0.11), (0.025, 0.026, 0.03)),
    ((0.50, 0.44, 0.36), (0.28, 0.22, 0.16)),
    ((0.74, 0.73, 0.70), (0.52, 0.52, 0.52)),
)
_CLOTHS = (
    (0.68, 0.66, 0.60), (0.10, 0.16, 0.30), (0.42, 0.08, 0.07), (0.16, 0.24, 0.13),
    (0.50, 0.43, 0.33), (0.72, 0.72, 0.72), (0.30, 0.32, 0.35),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class TableTop:
    """A material.

    Attributes:
        tile: (S, S, 3) float32 linear albedo; repeats in both directions.
        gloss: reflectance at normal incidence; 0 is matt.
        mean: (3,) mean albedo.
    """

    tile: Float32Array
    gloss: float
    mean: Float32Array


def table_top(kind: str, rng: np.random.Generator) -> TableTop:
    """A table top of the kind wood, stone or cloth, different with every draw."""
    tile, gloss = _MAKERS[kind](rng)
    tile = np.clip(tile, 0.01, 0.9).astype(np.float32)
    return TableTop(tile, gloss, np.asarray(tile.reshape(-1, 3).mean(axis=0), np.float32))


def _wood(rng: np.random.Generator) -> tuple[Float32Array, float]:
    """Planks with grain along their length."""
    light, dark = _WOODS[rng.integers(len(_WOODS))]
    planks = int(rng.integers(2, 6))
    fibres, rings, clouds = _noise(rng, 0.8, 60.0), _noise(rng, 7.0, 120.0), _noise(rng, 90.0, 90.0)
    rows = np.arange(_SIDE)[:, None] * planks / _SIDE
    plank = np.floor(rows).astype(int)
    shift = rng.integers(_SIDE, size=planks)[plank[:, 0]]
    columns = (np.arange(_SIDE)[None, :] + shift[:, None]) % _SIDE
    grain = np.take_along_axis(fibres, columns, axis=1) * 0.22 + 0.5
    ring = np.take_along_axis(rings, columns, axis=1)
    grain += 0.17 * np.sin(9.0 * ring + 2.0 * clouds) + 0.08 * clouds
    grain += rng.uniform(-0.12, 0.12, planks)[plank[:, 0]][:, None]
    gap = np.minimum(rows % 1, 1 - rows % 1) * _SIDE / planks
    shade = 1 - 0.75 * np.exp(-((gap / 1.6) ** 2))
    return np.asarray(_between(dark, light, grain) * shade[..., None], np.float32), float(rng.uniform(0.015, 0.05))


def _stone(rng: np.random.Generator) -> tuple[Float32Array, float]:
    """Clouds, specks and a few veins."""
    light, dark = _STONES[rng.integers(len(_STONES))]
    clouds = 0.5 * _noise(rng, 60, 60) + 0.3 * _noise(rng, 16, 16)
    specks = 0.35 * _noise(rng, 1.2, 1.2) + 0.25 * _noise(rng, 3, 3)
    veins = np.exp(-((_noise(rng, 45, 70) / 0.05) ** 2)) * rng.uniform(0, 0.5)
    return _between(dark, light, 0.55 + 0.25 * clouds + rng.uniform(0.1, 0.5) * specks + veins), float(
        rng.uniform(0.02, 0.06)
    )


def _cloth(rng: np.random.Generator) -> tuple[Float32Array, float]:
    """A weave, sometimes with stripes."""
    colour = np.array(_CLOTHS[rng.integers(len(_CLOTHS))], np.float32) * rng.uniform(0.8, 1.15)
    threads = _SIDE // int(rng.integers(4, 8))
    along = np.arange(_SIDE) * 2 * np.pi * threads / _SIDE
    over = np.sign(np.sin(along / 2))[:, None] * np.sign(np.sin(along / 2))[None, :]
    weave = np.where(over > 0, np.cos(along)[:, None], np.cos(along)[None, :]) * 0.10
    uneven = 0.05 * _noise(rng, 0.7, 25) + 0.05 * _noise(rng, 25, 0.7) + 0.05 * _noise(rng, 80, 80)
    tile = colour * (1 + weave + uneven)[..., None]
    if rng.random() < 0.4:
        stripes = int(rng.integers(4, 14))
        band = (np.sin(np.arange(_SIDE) * 2 * np.pi * stripes / _SIDE) > rng.uniform(0.2, 0.8))[:, None, None]
        other = np.array(_CLOTHS[rng.integers(len(_CLOTHS))], np.float32)
        tile = np.where(band, tile * 0.25 + 0.75 * other * (1 + weave + uneven)[..., None], tile)
    return tile.astype(np.float32), 0.0


def _noise(rng: np.random.Generator, down: float, across: float) -> Float32Array:
    """(S, S) seamless noise of mean 0 and variance 1, with these correlation lengths in pixels."""
    values = rng.standard_normal((_SIDE, _SIDE)).astype(np.float32)
    frequencies = np.fft.fftfreq(_SIDE).astype(np.float32), np.fft.rfftfreq(_SIDE).astype(np.float32)
    smooth = np.exp(-2 * (np.pi * down * frequencies[0][:, None]) ** 2 - 2 * (np.pi * across * frequencies[1]) ** 2)
    found = np.fft.irfft2(np.fft.rfft2(values) * smooth, s=(_SIDE, _SIDE))
    return np.asarray(found / max(float(found.std()), 1e-9), np.float32)


def _between(dark: tuple[float, ...], light: tuple[float, ...], share: Float32Array) -> Float32Array:
    low, high = np.array(dark, np.float32), np.array(light, np.float32)
    return np.asarray(low + (high - low) * np.clip(share, 0, 1.15)[..., None], np.float32)


_MAKERS: dict[str, Callable[[np.random.Generator], tuple[Float32Array, float]]] = {
    "wood": _wood,
    "stone": _stone,
    "cloth": _cloth,
}


def sampled(tile: Float32Array, x: Float32Array, z: Float32Array, side: float, turn: float) -> Float32Array:
    """(H, W, 3) albedo at table positions.

    Args:
        tile: see :class:`TableTop`.
        x, z: (H, W) float32 world coordinates.
        side: of a tile in world units.
        turn: rotation of the tile about the vertical axis, radians.
    """
    scale = tile.shape[0] / side
    cosine, sine = np.cos(turn) * scale, np.sin(turn) * scale
    columns = np.mod(x * cosine + z * sine, tile.shape[1]).astype(np.float32)
    rows = np.mod(z * cosine - x * sine, tile.shape[0]).astype(np.float32)
    padded = np.pad(tile, ((0, 1), (0, 1), (0, 0)), mode="wrap")
    return np.asarray(cv2.remap(padded, columns, rows, cv2.INTER_LINEAR), np.float32)
