"""A person-like figure whose albedo, normals, silhouette and shading are exact, and measures for albedo."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Figure:
    """A ball for the head on a broad ellipsoid for the body, in patches of constant albedo.

    Attributes:
        albedo_linear: (H, W, 3) piecewise constant; 0 outside.
        normals: (H, W, 3) unit, camera frame; (0, 0, -1) outside.
        alpha: (H, W) in [0, 1], antialiased.
    """

    albedo_linear: Floats
    normals: Floats
    alpha: Floats

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Pixels that are the figure alone."""
        return self.alpha >= 1

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom around the figure."""
        rows, columns = np.nonzero(self.alpha > 0.5)
        return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)


def figure(seed: int, side: int = 256) -> Figure:
    """A seeded figure in a square picture."""
    random = np.random.default_rng([seed, 7])
    x, top, size = random.uniform(0.42, 0.58) * side, random.uniform(0.1, 0.2) * side, random.uniform(0.1, 0.13) * side
    head = (x, top + size, size, 1.15 * size)
    body = (x, top + 2.2 * size + 0.42 * side, random.uniform(0.2, 0.26) * side, 0.45 * side)
    rows, columns = np.mgrid[:side, :side].astype(np.float32) + np.float32(0.5)
    heights, normals, cover = zip(*(_ellipsoid(columns, rows, *part) for part in (head, body)), strict=True)
    front = np.argmax(np.stack(heights), axis=0)
    chosen = np.take_along_axis(np.stack(normals), front[None, ..., None], axis=0)[0]
    alpha = np.maximum(*cover)
    outside = np.maximum(*heights) <= 0
    chosen[outside] = (0, 0, -1)
    albedo = _patches(random, side) * ~outside[..., None]
    return Figure(albedo.astype(np.float32), chosen.astype(np.float32), alpha.astype(np.float32))


def _ellipsoid(
    columns: Floats, rows: Floats, x: float, y: float, width: float, height: float
) -> tuple[Floats, Floats, Floats]:
    across, down = (columns - x) / width, (rows - y) / height
    inside = 1 - across**2 - down**2
    raised = np.sqrt(np.maximum(inside, 0))
    vectors = np.stack([across / width, down / height, -raised / width], axis=-1)
    normals = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    distance = (1 - np.sqrt(across**2 + down**2)) * min(width, height)
    return width * raised, normals.astype(np.float32), np.clip(distance + 0.5, 0, 1)


def _patches(random: np.random.Generator, side: int) -> Floats:
    """Constant colours in the cells of seeded points."""
    points = random.uniform(0, side, (14, 2))
    colours = random.uniform(0.12, 0.85, (14, 1)) * random.uniform(0.45, 1.0, (14, 3))
    rows, columns = np.mgrid[:side, :side] + 0.5
    distances = (rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2
    patches: Floats = colours[np.argmin(distances, axis=-1)].astype(np.float32)
    return patches


def local_error(estimate: Floats, truth: Floats, mask: NDArray[np.bool_], window: int = 20) -> float:
    """Local mean squared error up to scale (LMSE, Grosse et al. 2009) of (H, W, 3) linear albedo; 0 best, 1 worst."""
    left = total = 0.0
    for top in range(0, mask.shape[0] - window + 1, window // 2):
        for start in range(0, mask.shape[1] - window + 1, window // 2):
            part = np.s_[top : top + window, start : start + window]
            inside = mask[part]
            if inside.sum() < 20:
                continue
            shown, wanted = estimate[part][inside].astype(np.float64), truth[part][inside].astype(np.float64)
            scale = (shown * wanted).sum() / max((shown**2).sum(), 1e-12)
            left += ((wanted - scale * shown) ** 2).sum()
            total += (wanted**2).sum()
    return left / total


def chroma_degrees(estimate: Floats, truth: Floats, mask: NDArray[np.bool_]) -> float:
    """Mean angle between the colours as vectors."""
    shown, wanted = estimate[mask].astype(np.float64), truth[mask].astype(np.float64)
    cosine = (shown * wanted).sum(1) / np.maximum(np.linalg.norm(shown, axis=1) * np.linalg.norm(wanted, axis=1), 1e-12)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean())


def over(figure: Figure, front_linear: Floats, background_linear: Floats) -> Floats:
    """(H, W, 3) the figure's colours over a background."""
    alpha = figure.alpha[..., None]
    return (alpha * front_linear + (1 - alpha) * background_linear).astype(np.float32)


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Intersection over union."""
    return float((one & other).sum() / max((one | other).sum(), 1))


def angle_degrees(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Angle between two unit vectors."""
    return float(np.degrees(np.arccos(np.clip(np.dot(one, other), -1, 1))))


def resized(image: Floats, side: int) -> Floats:
    """(side, side, C), bicubic when enlarged."""
    method = cv2.INTER_CUBIC if side > image.shape[0] else cv2.INTER_AREA
    return np.clip(cv2.resize(image, (side, side), interpolation=method), 0, 1).astype(np.float32)
