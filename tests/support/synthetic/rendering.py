"""Ray casting of a synthetic world: exact colour, geometry, ids, shadows and visibility.

Shading is Phong's model (1975) in linear light: ``albedo * (ambient + visible * light * max(0, n.l)) +
visible * light * specular * max(0, r.v) ** exponent``. The room is convex, so only its objects cast
shadows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scenewright_stages.vision.geometry.cameras import Camera, Float64Array
from scenewright_stages.vision.imaging.colour import srgb_from_linear
from synthetic.shapes import NEAREST, Floats, dot
from synthetic.world import World

_RAYS_PER_CHUNK = 1 << 14  # keeps the working set of one chunk in the processor's cache
_SHADOW_OFFSET = 1e-3  # metres along the normal: keeps a surface from shadowing itself
_SAME_POINT = 1e-6  # relative depth difference below which a ray has reached its target


@dataclass(frozen=True, eq=False)
class SyntheticView:
    """One exact view.

    Attributes:
        camera: the camera it was seen with.
        linear, srgb: (H, W, 3) float32 in [0, 1], the mean over the subsamples of each pixel (taken in
            linear light).
        albedo_linear: (H, W, 3) float32 at pixel centres.
        normal: (H, W, 3) float32 unit vectors in world coordinates, at pixel centres.
        depth: (H, W) float32 z-depth in metres at pixel centres.
        instance: (H, W) int32 ids, see `World`.
        shadow: (H, W) bool, true where no direct light arrives (cast shadow or facing away).
    """

    camera: Camera
    linear: NDArray[np.float32]
    srgb: NDArray[np.float32]
    albedo_linear: NDArray[np.float32]
    normal: NDArray[np.float32]
    depth: NDArray[np.float32]
    instance: NDArray[np.int32]
    shadow: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Hits:
    points: Floats
    normals: Floats
    albedo_linear: Floats
    instance: NDArray[np.int32]
    specular: Floats
    exponent: Floats


def render(world: World, camera: Camera, supersampling: int = 4) -> SyntheticView:
    """The view of camera, with supersampling x supersampling colour samples a pixel.

    Samples of a pixel whose eight neighbours see the same body in the same light are traced against
    that body alone: all bodies are convex, so only something thinner than a pixel could be missed.
    """
    origin = camera.position
    directions = _directions(camera)
    depth, nearest = _nearest(world, origin, directions)
    hits = _hits(world, origin, directions, depth, nearest)
    lit = _lit(world, hits.points, hits.normals)
    shape = (camera.height, camera.width)
    plain = _uniform((2 * nearest + lit).reshape(shape)).ravel()
    linear = _supersampled_linear(_Samples(world, camera, supersampling), np.where(plain, nearest, -1), lit)
    return SyntheticView(
        camera=camera,
        linear=linear.reshape(*shape, 3),
        srgb=srgb_from_linear(linear).reshape(*shape, 3),
        albedo_linear=hits.albedo_linear.reshape(*shape, 3).astype(np.float32),
        normal=hits.normals.reshape(*shape, 3).astype(np.float32),
        depth=depth.reshape(shape).astype(np.float32),
        instance=hits.instance.reshape(shape),
        shadow=~lit.reshape(shape),
    )


def trace_depth(world: World, camera: Camera) -> Float64Array:
    """(H, W) float64 exact z-depth at pixel centres, metres."""
    depth, _ = _nearest(world, camera.position, _directions(camera))
    return depth.reshape(camera.height, camera.width).astype(np.float64)


def correspondence(world: World, camera: Camera, other: Camera) -> tuple[Float64Array, NDArray[np.bool_]]:
    """Where other sees the surface points at camera's pixel centres.

    Returns:
        (H, W, 2) float64 pixel coordinates in other (NaN behind it), and (H, W) bool: true where the
        point lies inside other's image and nothing stands in between. Both are exact.
    """
    shape = (camera.height, camera.width)
    directions = _directions(camera)
    depth, _ = _nearest(world, camera.position, directions)
    points = camera.position + depth[:, None] * directions
    seen = points @ other.camera_from_world[:3, :3].T + other.camera_from_world[:3, 3]
    in_front = seen[:, 2] > NEAREST
    projected = seen @ other.intrinsics.T
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = np.where(in_front[:, None], projected[:, :2] / projected[:, 2:], np.nan)
    inside = in_front & np.all((pixels >= 0) & (pixels < (other.width, other.height)), axis=1)
    inside[inside] = _unobstructed(world, other.position, points[inside])
    return pixels.reshape(*shape, 2), inside.reshape(shape)


def visible_in(world: World, camera: Camera, other: Camera) -> NDArray[np.bool_]:
    """(H, W) bool: true where other sees the surface point at camera's pixel centre."""
    return correspondence(world, camera, other)[1]


@dataclass(frozen=True, eq=False)
class _Samples:
    world: World
    camera: Camera
    per_side: int


def _directions(camera: Camera) -> Float64Array:
    """(H * W, 3) world directions through the pixel centres, of z-length 1: t along a ray is z-depth."""
    pixels = np.arange(camera.height * camera.width)
    centre = np.full(1, 0.5)
    return _directions_at(camera, pixels, centre, centre)


def _directions_at(camera: Camera, pixels: NDArray[np.intp], right: Float64Array, down: Float64Array) -> Float64Array:
    """World directions (pixels * offsets, 3) at offsets right and down of the pixels' corners."""
    (fx, fy), (cx, cy) = camera.focal, camera.principal_point
    rows, columns = np.divmod(pixels, camera.width)
    directions = np.ones((len(pixels), len(right), 3))
    directions[..., 0] = (columns[:, None] + right - cx) / fx
    directions[..., 1] = (rows[:, None] + down - cy) / fy
    world: Float64Array = directions.reshape(-1, 3) @ camera.camera_from_world[:3, :3]
    return world


def _uniform(labels: NDArray[np.intp]) -> NDArray[np.bool_]:
    """(H, W) bool: true where all nine labels of a pixel's neighbourhood agree; false on the border."""
    uniform = np.zeros(labels.shape, np.bool_)
    inner = uniform[1:-1, 1:-1]
    inner[:] = True
    height, width = labels.shape
    for top in range(3):
        for left in range(3):
            inner &= labels[top : height - 2 + top, left : width - 2 + left] == labels[1:-1, 1:-1]
    return uniform


def _supersampled_linear(samples: _Samples, body: NDArray[np.intp], lit: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(pixels, 3) mean linear colours; body is -1 where samples may meet any body or shadow."""
    linear = np.empty((len(body), 3), np.float32)
    pixels_per_chunk = max(1, _RAYS_PER_CHUNK // samples.per_side**2)
    for label in range(-1, len(samples.world.bodies)):
        pixels = np.flatnonzero(body == label)
        for start in range(0, len(pixels), pixels_per_chunk):
            chunk = pixels[start : start + pixels_per_chunk]
            linear[chunk] = _sample_colours(samples, chunk, label, lit[chunk])
    return linear


def _sample_colours(
    samples: _Samples, pixels: NDArray[np.intp], body: int, lit: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """(pixels, 3) float32 linear; all in single precision, which is ample for colours."""
    world, count = samples.world, samples.per_side**2
    steps = (np.arange(samples.per_side) + 0.5) / samples.per_side
    right, down = np.tile(steps, samples.per_side), np.repeat(steps, samples.per_side)
    directions: Floats = _directions_at(samples.camera, pixels, right, down).astype(np.float32)
    origin: Floats = samples.camera.position.astype(np.float32)
    if body < 0:
        hits = _hits(world, origin, directions, *_nearest(world, origin, directions))
        sample_lit = _lit(world, hits.points, hits.normals)
    else:
        depth = world.bodies[body].shape.intersect(origin, directions)
        hits = _hits(world, origin, directions, depth, np.full(len(depth), body))
        sample_lit = np.repeat(lit, count)
    colours = _shade(world, hits, directions, sample_lit)
    mean: NDArray[np.float32] = colours.reshape(len(pixels), count, 3).mean(axis=1, dtype=np.float32)
    return mean


def _nearest(world: World, origin: Floats, directions: Floats) -> tuple[Floats, NDArray[np.intp]]:
    distances = np.stack([body.shape.intersect(origin, directions) for body in world.bodies])
    nearest = np.argmin(distances, axis=0)
    return np.take_along_axis(distances, nearest[None], axis=0)[0], nearest


def _hits(world: World, origin: Floats, directions: Floats, depth: Floats, nearest: NDArray[np.intp]) -> _Hits:
    points = origin + depth[:, None] * directions
    normals, albedo = np.empty_like(points), np.empty_like(points)
    instance = np.empty(len(points), np.int32)
    for index in np.unique(nearest):
        body, first = world.bodies[index], world.first_instance[index]
        own = np.flatnonzero(nearest == index)
        normals[own] = body.shape.normals(points[own])
        instance[own] = parts = first + body.shape.part(points[own])
        for offset, texture in enumerate(body.textures):
            textured = own[parts == first + offset]
            if len(textured):
                albedo[textured] = texture.albedo_linear(points[textured])
    specular = np.array([body.specular for body in world.bodies], points.dtype)[nearest]
    exponent = np.array([body.exponent for body in world.bodies], points.dtype)[nearest]
    return _Hits(points, normals, albedo, instance, specular, exponent)


def _to_light(world: World, points: Floats) -> Floats:
    vector = np.asarray(world.light.vector, points.dtype)
    return vector - points if world.light.kind == "point" else np.broadcast_to(vector, points.shape)


def _lit(world: World, points: Floats, normals: Floats) -> NDArray[np.bool_]:
    """(N,) whether direct light arrives."""
    to_light = _to_light(world, points)
    lit = np.greater(dot(normals, to_light), 0)
    reach = 1.0 if world.light.kind == "point" else np.inf
    origins = points + np.asarray(_SHADOW_OFFSET, points.dtype) * normals
    for body in world.bodies[1:]:
        lit &= ~(body.shape.intersect(origins, to_light) < reach)
    return lit


def _shade(world: World, hits: _Hits, directions: Floats, lit: NDArray[np.bool_]) -> Floats:
    to_light = _unit(_to_light(world, hits.points))
    cosine = np.maximum(dot(hits.normals, to_light), 0) * lit
    light = np.asarray(world.light.colour, directions.dtype)
    linear = hits.albedo_linear * (np.float32(world.ambient) + cosine[:, None] * light)
    shiny = np.flatnonzero(lit & (hits.specular > 0))
    mirrored = 2 * cosine[shiny, None] * hits.normals[shiny] - to_light[shiny]
    peak = np.maximum(-dot(mirrored, _unit(directions[shiny])), 0) ** hits.exponent[shiny]
    linear[shiny] += (hits.specular[shiny] * peak)[:, None] * light
    clipped: Floats = np.clip(linear, 0, 1)
    return clipped


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.sqrt(dot(vectors, vectors))[:, None]
    return unit


def _unobstructed(world: World, origin: Float64Array, points: Float64Array) -> NDArray[np.bool_]:
    depth, _ = _nearest(world, origin, points - origin)
    return np.greater_equal(depth, 1 - _SAME_POINT)
