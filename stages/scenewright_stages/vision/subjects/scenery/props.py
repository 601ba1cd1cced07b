"""Procedural decoys: bowls, bottles, boxes and balls, rendered as cut-outs with colours and normals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from scenewright_stages.vision.subjects.scenery.standing import Base
from scenewright_stages.vision.types import Float32Array, Float64Array

_PROFILES: dict[str, tuple[tuple[float, float], ...]] = {
    # Height above the table and radius, both relative to the thing's height.
    "bottle": ((0, 0.16), (0.02, 0.18), (0.55, 0.18), (0.70, 0.12), (0.78, 0.065), (0.98, 0.065), (1.0, 0.05)),
    "bowl": ((0, 0.32), (0.08, 0.36), (0.45, 0.72), (0.95, 0.98), (1.0, 1.0), (0.92, 0.92), (0.35, 0.55), (0.2, 0.02)),
    "mug": ((0, 0.36), (0.05, 0.42), (0.98, 0.44), (1.0, 0.42), (0.97, 0.39), (0.15, 0.37), (0.12, 0.02)),
    "box": ((0, 0.50), (0.01, 0.52), (0.98, 0.52), (1.0, 0.50), (1.0, 0.02)),
    "ball": tuple((0.5 - 0.5 * math.cos(a), max(0.5 * math.sin(a), 0.01)) for a in np.linspace(0.25, math.pi, 14)),
    "vase": ((0, 0.14), (0.03, 0.17), (0.4, 0.30), (0.75, 0.13), (0.9, 0.13), (1.0, 0.19), (0.97, 0.16), (0.7, 0.05)),
    "plate": ((0, 2.2), (0.3, 2.6), (1.0, 4.4), (0.9, 4.3), (0.35, 2.6), (0.3, 0.1)),
}
_SQUARE = frozenset({"box"})


@dataclass(frozen=True, eq=False)
class Prop:
    """A thing as a cut-out.

    Attributes:
        colours: (h, w, 3) float32 linear albedo, extended slightly beyond the silhouette.
        alpha: (h, w) float32.
        normals: (h, w, 3) float32 unit vectors in world axes.
        base: where it stands.
        kind: such as ``bowl``.
    """

    colours: Float32Array
    alpha: Float32Array
    normals: Float32Array
    base: Base
    kind: str


def draw_prop(rng: np.random.Generator, side: float, pitch: float, colour: Float32Array | None = None) -> Prop:
    """A random thing whose longer side is about `side` pixels.

    Args:
        rng: draws its kind, proportions and pattern.
        side: pixels.
        pitch: downward pitch of the camera, degrees.
        colour: (3,) linear colour to stay close to; None: any.
    """
    kind = list(_PROFILES)[rng.integers(len(_PROFILES))]
    profile = np.array(_PROFILES[kind], np.float64)
    profile[:, 1] *= rng.uniform(0.8, 1.25)
    extent = max(1.0, 2 * float(profile[:, 1].max()))
    height = side / extent
    points, normals, paint = _surface(profile * height, kind in _SQUARE, rng)
    own = _colour(rng) if colour is None else np.clip(colour * rng.uniform(0.75, 1.3, 3), 0.02, 0.85).astype(np.float32)
    albedo = _painted(own, paint, height, rng)
    return _drawn(points, normals, albedo, pitch, kind, float(profile[0, 1] * height), height)


def _surface(
    profile: Float64Array, square: bool, rng: np.random.Generator
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Surface of revolution: points (N, 3) x, height, depth; their normals; and (N, 2) angle and height."""
    steps = np.hypot(*np.diff(profile, axis=0).T)
    length = np.concatenate([[0], np.cumsum(steps)])
    largest = float(profile[:, 1].max())
    rings = np.linspace(0, length[-1], int(np.clip(length[-1] * 1.6, 60, 900)))
    heights, radii = np.interp(rings, length, profile[:, 0]), np.interp(rings, length, profile[:, 1])
    slopes = np.gradient(heights), np.gradient(radii)
    angles = np.linspace(0, 2 * np.pi, int(np.clip(2 * np.pi * largest * 1.6, 120, 1600)), endpoint=False)
    turn = rng.uniform(0, 2 * np.pi)
    power = 8.0 if square else 2.0
    cosine, sine = np.cos(angles), np.sin(angles)
    size = (np.abs(cosine) ** power + np.abs(sine) ** power) ** (-1 / power)
    if square:
        size *= 1.0
    across, deep = cosine * size, sine * size
    out_x, out_z = np.sign(cosine) * np.abs(across) ** (power - 1), np.sign(sine) * np.abs(deep) ** (power - 1)
    norm = np.hypot(out_x, out_z)
    out_x, out_z = out_x / norm, out_z / norm
    c, s = math.cos(turn), math.sin(turn)
    across, deep = across * c - deep * s, across * s + deep * c
    out_x, out_z = out_x * c - out_z * s, out_x * s + out_z * c
    points = np.stack(
        [radii[:, None] * across, np.broadcast_to(heights[:, None], (len(rings), len(angles))), radii[:, None] * deep],
        axis=-1,
    )
    rise, run = slopes[0][:, None], slopes[1][:, None]
    normals = np.stack([rise * out_x, np.broadcast_to(-run, points.shape[:2]), rise * out_z], axis=-1)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    paint = np.stack(np.broadcast_arrays(angles[None, :], heights[:, None]), axis=-1)
    return tuple(each.reshape(-1, each.shape[-1]).astype(np.float32) for each in (points, normals, paint))  # type: ignore[return-value]


def _colour(rng: np.random.Generator) -> Float32Array:
    """A random colour, more often dull than bright."""
    hue, saturation, value = rng.uniform(0, 360), rng.beta(1.2, 3.2), rng.uniform(0.25, 0.9)
    rgb = cv2.cvtColor(np.array([[[hue, saturation, value]]], np.float32), cv2.COLOR_HSV2RGB)[0, 0]
    return np.asarray(rgb**2.2, np.float32)


def _painted(colour: Float32Array, paint: Float32Array, height: float, rng: np.random.Generator) -> Float32Array:
    """(N, 3) colours, with or without a pattern."""
    colours = np.broadcast_to(colour, (len(paint), 3)).astype(np.float32).copy()
    pattern = rng.random()
    other = _colour(rng)
    if pattern < 0.25:
        low = rng.uniform(0.2, 0.6)
        band = (paint[:, 1] > low * height) & (paint[:, 1] < (low + rng.uniform(0.08, 0.3)) * height)
        colours[band] = other
    elif pattern < 0.4:
        colours[np.sin(paint[:, 0] * rng.integers(3, 12)) > 0.2] = other
    return np.clip(colours, 0.015, 0.85)


def _drawn(
    points: Float32Array,
    normals: Float32Array,
    albedo: Float32Array,
    pitch: float,
    kind: str,
    radius: float,
    height: float,
) -> Prop:
    """Orthographic rendering of points from far to near, at twice the resolution."""
    sine, cosine = math.sin(math.radians(pitch)), math.cos(math.radians(pitch))
    columns, rows = points[:, 0], -(points[:, 1] * cosine + points[:, 2] * sine)
    toward = points[:, 1] * sine - points[:, 2] * cosine
    left, top = math.floor(columns.min()) - 2, math.floor(rows.min()) - 2
    width, tall = math.ceil(columns.max()) + 3 - left, math.ceil(rows.max()) + 3 - top
    order = np.argsort(toward, kind="stable")
    at_row, at_column = (2 * (rows - top)).astype(np.int32)[order], (2 * (columns - left)).astype(np.int32)[order]
    found = np.zeros((2 * tall, 2 * width, 7), np.float32)
    # Later entries overwrite earlier ones, so each pixel keeps its nearest point.
    found[at_row, at_column] = np.concatenate([albedo, normals, np.ones((len(albedo), 1), np.float32)], axis=1)[order]
    depth = np.full(found.shape[:2], toward.min() - 9, np.float32)
    depth[at_row, at_column] = toward[order]
    # A far point may show through the gaps between points of a near wall.
    through = depth < cv2.morphologyEx(depth, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) - 3
    found[through] = 0
    inside = cv2.morphologyEx(found[..., 6], cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    weight = cv2.GaussianBlur(found[..., 6], (0, 0), 1.0)
    filled = cv2.GaussianBlur(found[..., :6], (0, 0), 1.0) / np.maximum(weight, 1e-3)[..., None]
    values = np.where(found[..., 6:] > 0, 0.5 * found[..., :6] + 0.5 * filled, filled)
    small = (width, tall)
    alpha = cv2.resize(inside, small, interpolation=cv2.INTER_AREA)
    values = cv2.resize(values, small, interpolation=cv2.INTER_AREA)
    facing = values[..., 3:]
    facing = facing / np.maximum(np.linalg.norm(facing, axis=-1, keepdims=True), 1e-6)
    base = Base(-left, -top, max(radius, 1.0), height, pitch)
    return Prop(
        np.ascontiguousarray(values[..., :3], np.float32),
        np.asarray(alpha, np.float32),
        np.ascontiguousarray(facing, np.float32),
        base,
        kind,
    )
