"""Splats as plain arrays, their compact encoding, and the data for a page's 3D viewer.

The viewer's script is in /viewer; `ViewerPayload` holds what viewer/src/embedded.js documents.
"""

from __future__ import annotations

import base64
import gzip
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scenewright_stages.report.assets import viewer_script, viewer_wasm
from scenewright_stages.report.pictures import evenly_spaced
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.types import Float32Array

# Numbers as in SPZ 3, which Niantic published (github.com/nianticlabs/spz, MIT) and the page makes of them again.
_COLOUR_SCALE = 0.15
_POSITION_LIMIT = 2**23 - 1
_MOST_FRACTIONAL_BITS = 16
_QUATERNION_LEVELS = 511
_DEGREE_0_HARMONIC = 0.28209479177387814
_LEAST_VISIBLE_OPACITY = 1 / 255
# Width of the fade beyond the picture, as a share of the picture's side.
_FADE = 0.03
_COVERING_CAMERAS = 48

# Pivot distance for scenes with nothing in front of the camera.
_FALLBACK_PIVOT = 1.0
# Converts between OpenCV and OpenGL world axes; its own inverse.
_FLIP_Y_AND_Z = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class SplatCloud:
    """Gaussians with one colour each.

    Attributes:
        means: (N, 3) float32 metres, world frame with OpenCV axes.
        scales: (N, 3) float32 metres, standard deviations along the Gaussian's own axes.
        quaternions: (N, 4) float32 wxyz, world from Gaussian; any length above zero.
        opacities: (N,) float32 in [0, 1].
        srgb: (N, 3) float32 in [0, 1].

    Raises:
        ValueError: the shapes are inconsistent.
    """

    means: Float32Array
    scales: Float32Array
    quaternions: Float32Array
    opacities: Float32Array
    srgb: Float32Array

    def __post_init__(self) -> None:
        count = len(self.means)
        expected: dict[str, tuple[int, ...]] = {"means": (count, 3), "scales": (count, 3), "quaternions": (count, 4)}
        expected |= {"opacities": (count,), "srgb": (count, 3)}
        for name, shape in expected.items():
            value = np.asarray(getattr(self, name), np.float32)
            if value.shape != shape:
                raise ValueError(f"{name} has shape {value.shape}, expected {shape}")
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, scene: GaussianScene) -> SplatCloud:
        """The Gaussians of a scene without view-dependent colour.

        Keeps only the constant band of the spherical harmonics: colour = max(0, 0.282 * band + 0.5), the convention
        of 3D Gaussian Splatting (Kerbl et al. 2023).
        """
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in scene.tensors.items()}
        return cls(
            arrays["means"],
            np.exp(arrays["log_scales"]),
            arrays["quaternions"],
            np.asarray(1 / (1 + np.exp(-arrays["opacity_logits"])), np.float32),
            np.clip(_DEGREE_0_HARMONIC * arrays["spherical_harmonics"][:, 0] + 0.5, 0, 1).astype(np.float32),
        )

    def __len__(self) -> int:
        return len(self.means)

    def select(self, index: ArrayLike) -> SplatCloud:
        """The Gaussians selected by a boolean mask or integer index (N,)."""
        rows = np.asarray(index)
        return SplatCloud(
            self.means[rows], self.scales[rows], self.quaternions[rows], self.opacities[rows], self.srgb[rows]
        )


def drawable(cloud: SplatCloud) -> SplatCloud:
    """The cloud without invisible Gaussians: not finite, without extent, or fainter than one grey level."""
    values = np.hstack([cloud.means, cloud.scales, cloud.quaternions, cloud.opacities[:, None], cloud.srgb])
    visible = np.isfinite(values).all(axis=1) & (cloud.opacities >= _LEAST_VISIBLE_OPACITY)
    visible &= (cloud.scales > 0).all(axis=1) & (np.linalg.norm(cloud.quaternions, axis=1) > 1e-12)
    return cloud if visible.all() else cloud.select(visible)


def most_important(cloud: SplatCloud, limit: int, position: ArrayLike) -> SplatCloud:
    """At most `limit` Gaussians, those that cover the most as seen from position (3,), in their original order."""
    if len(cloud) <= limit:
        return cloud
    distance = np.linalg.norm(cloud.means - np.asarray(position, np.float32), axis=1)
    area = np.sort(cloud.scales, axis=1)[:, 1:].prod(axis=1)
    importance = cloud.opacities * area / np.maximum(distance, 1e-6) ** 2
    chosen = np.argsort(-importance, kind="stable")[:limit]
    return cloud.select(np.sort(chosen))


def faded(cloud: SplatCloud, cameras: Sequence[Camera]) -> SplatCloud:
    """The cloud with what no camera sees faded out: nobody trained or filled it, so it is smear.

    Opacity falls to zero over a margin of `_FADE` of the frame around each camera's picture. Splats that reach into
    the picture stay, so that its edges are whole.
    """
    weight, largest = np.zeros(len(cloud), np.float32), cloud.scales.max(axis=1)
    for camera in cameras:
        # The first cameras see most splats whole, and no other camera can add to that.
        rest = np.flatnonzero(weight < 1)
        weight[rest] = np.maximum(weight[rest], _weight_in(cloud.means[rest], largest[rest], camera))
    kept = weight > 0
    inside = cloud.select(kept)
    return replace(inside, opacities=inside.opacities * weight[kept])


def _weight_in(means: Float32Array, largest: Float32Array, camera: Camera) -> Float32Array:
    """(N,) float32: 1 for splats in a camera's picture, falling to 0 beyond its edge, 0 behind the camera.

    Args:
        means: (N, 3), world frame.
        largest: (N,) the largest scale of each splat.
    """
    pose = camera.camera_from_world.astype(np.float32)
    points = means @ pose[:3, :3].T + pose[:3, 3]
    z = points[:, 2]
    front = z > 1e-6
    depth = np.where(front, z, np.float32(1))
    beyond = np.full(len(means), -np.inf, np.float32)
    for axis, (size, focal, centre) in enumerate(
        zip((camera.width, camera.height), camera.focal, camera.principal_point, strict=True)
    ):
        place = (points[:, axis] / depth * np.float32(focal) + np.float32(centre)) / np.float32(size)
        reach = np.minimum(largest / depth * np.float32(focal / size), np.float32(_FADE / 2))
        beyond = np.maximum(beyond, np.maximum(-place, place - 1) - reach)
    weight = np.clip(1 - beyond / np.float32(_FADE), 0, 1)
    return np.where(front, weight, 0).astype(np.float32)


def packed_bytes(cloud: SplatCloud) -> bytes:
    """The cloud as viewer/src/packed.js unpacks it to an SPZ file, whose axes are OpenGL's (x right, y up, z backward).

    The numbers are those of SPZ 3. In the order of the scene, neighbours are alike, so what is compressed is the
    difference from the splat before, one attribute after the other: a scene of a photograph takes half of its SPZ file.

    Precision: positions to 2^-16 m or, for large scenes, 24 bits over the extent; scales to 3 %;
    colours to 1/136; rotations to 0.2 degrees. The encoding is deterministic.
    """
    visible = drawable(cloud)
    bits = _fractional_bits(visible.means)
    red, green, blue = _levels(((visible.srgb - 0.5) / _DEGREE_0_HARMONIC * _COLOUR_SCALE + 0.5) * 255).T
    columns = [
        *((column, 3) for column in _fixed_point(visible.means * (1, -1, -1), bits).T),
        (_levels(visible.opacities * 255), 1),
        # Red and blue follow green.
        *((column, 1) for column in (green, red - green, blue - green)),
        *((column, 1) for column in _levels((np.log(visible.scales) + 10) * 16).T),
        *_rotation_columns(visible.quaternions * (1, 1, -1, -1)),
    ]
    header = struct.pack("<II", len(visible), bits)
    return gzip.compress(header + b"".join(_differences(*column) for column in columns), mtime=0)


def _differences(values: NDArray[np.int64], size: int) -> bytes:
    """What `values` (N,) change by from one to the next, in numbers of so many bytes: all lowest bytes, then the next.

    Changes are modulo the size and their sign is the lowest bit, so small ones have small numbers.
    """
    half = 1 << (8 * size - 1)
    steps = (np.diff(values, prepend=0) + half) % (2 * half) - half
    codes = np.where(steps < 0, -2 * steps - 1, 2 * steps).astype("<u4")
    return codes.view(np.uint8).reshape(-1, 4)[:, :size].T.tobytes()


def _fractional_bits(means: Float32Array) -> int:
    extent = float(np.abs(means).max(initial=1e-6))
    return int(np.clip(np.floor(np.log2(_POSITION_LIMIT / extent)), 0, _MOST_FRACTIONAL_BITS))


def _fixed_point(means: NDArray[np.floating], bits: int) -> NDArray[np.int64]:
    """(N, 3) numbers of 24 bits, of which so many are fractional."""
    return np.asarray(np.clip(np.rint(means * 2.0**bits), -_POSITION_LIMIT, _POSITION_LIMIT), np.int64)


def _levels(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Whole numbers from 0 to 255."""
    return np.asarray(np.rint(np.clip(values, 0, 255)), np.int64)


def _rotation_columns(quaternions: NDArray[np.floating]) -> list[tuple[NDArray[np.int64], int]]:
    """The index of the largest component of xyzw, and the other three in its order, with sizes in bytes.

    The largest is positive and left out; the others are whole numbers from -511 to 511.
    """
    xyzw = np.roll(quaternions, -1, axis=1)
    xyzw /= np.linalg.norm(xyzw, axis=1, keepdims=True)
    largest = np.abs(xyzw).argmax(axis=1)
    xyzw *= np.where(np.take_along_axis(xyzw, largest[:, None], axis=1) < 0, -1, 1)
    others = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])[largest]
    three = np.rint(np.take_along_axis(xyzw, others, axis=1) * np.sqrt(2) * _QUATERNION_LEVELS)
    three = three.clip(-_QUATERNION_LEVELS, _QUATERNION_LEVELS).astype(np.int64)
    return [(largest, 1), *((column, 2) for column in three.T)]


@dataclass(frozen=True, eq=False)
class SplatScene:
    """The interactive view. It opens at the path's first pose and shows what the path sees, nothing beside it.

    Attributes:
        cloud: the splats, in the frame of the cameras.
        camera: the view of a scene without a path; its intrinsics never change.
        path: cameras of "play the camera path" at equal time steps; empty for no path.
        path_seconds: duration of one pass.
        limit: maximum number of splats; larger scenes are thinned out, and the page says so.
    """

    cloud: SplatCloud
    camera: Camera
    path: tuple[Camera, ...] = ()
    path_seconds: float = 0.0
    limit: int = 500_000

    @property
    def first(self) -> Camera:
        """The opening view."""
        return self.path[0] if self.path else self.camera

    @property
    def seen_from(self) -> tuple[Camera, ...]:
        """Cameras that together see what the path sees."""
        picks = evenly_spaced(len(self.path), _COVERING_CAMERAS)
        return tuple(self.path[pick] for pick in picks) or (self.camera,)


@dataclass(frozen=True)
class ViewerPayload:
    """Texts to embed in the page.

    Attributes:
        configuration: what readConfiguration() of viewer/src/embedded.js describes.
        splats: base64 of packed splats.
        script, wasm: base64 of the gzipped viewer script and of its gzipped WebAssembly.
        shown, total: number of splats in the page, and of visible splats in the scene.
    """

    configuration: dict[str, object]
    splats: str
    script: str
    wasm: str
    shown: int
    total: int


def viewer_payload(scene: SplatScene) -> ViewerPayload:
    """The embedded texts of one interactive view.

    Raises:
        ViewerNotBuiltError: the viewer script is missing from this installation.
    """
    visible = drawable(faded(scene.cloud, scene.seen_from))
    first = scene.first
    cloud = most_important(visible, scene.limit, first.position)
    configuration: dict[str, object] = {
        "camera": {
            "worldFromCamera": _opengl_rows(first),
            "width": first.width,
            "height": first.height,
            "focal": [_significant(value) for value in first.focal],
            "principalPoint": [_significant(value) for value in first.principal_point],
        },
        "pivotDistance": _significant(pivot_distance(cloud, first)),
        "path": [_opengl_rows(camera) for camera in scene.path],
        "pathSeconds": scene.path_seconds,
        "count": len(cloud),
    }
    # Gzip reduces them to a third.
    script, wasm = (_base64(gzip.compress(each, mtime=0)) for each in (viewer_script().encode("utf-8"), viewer_wasm()))
    return ViewerPayload(configuration, _base64(packed_bytes(cloud)), script, wasm, len(cloud), len(visible))


def pivot_distance(cloud: SplatCloud, camera: Camera) -> float:
    """Orbit distance: the median depth in metres of the splats in the camera's view."""
    points = np.asarray(cloud.means, np.float64) @ camera.camera_from_world[:3, :3].T
    points += camera.camera_from_world[:3, 3]
    seen = points[points[:, 2] > 0]
    pixels = seen @ camera.intrinsics.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    inside = ((pixels >= 0) & (pixels <= (camera.width, camera.height))).all(axis=1)
    return float(np.median(seen[inside, 2])) if inside.any() else _FALLBACK_PIVOT


def _opengl_rows(camera: Camera) -> list[float]:
    """world_from_camera in row-major order, with OpenGL axes for both world and camera."""
    pose: NDArray[np.float64] = _FLIP_Y_AND_Z @ camera.world_from_camera @ _FLIP_Y_AND_Z
    # Adding zero turns -0.0 into 0.0, which keeps the bytes deterministic.
    return [_significant(value) + 0.0 for value in pose.ravel().tolist()]


def _significant(value: float) -> float:
    return float(f"{value:.7g}")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
