"""Splats as plain arrays, and the compact file that a web page carries them in."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float32Array = NDArray[np.float32]

# SPZ 3 as published by Niantic (github.com/nianticlabs/spz, MIT): sections by attribute, then gzip.
_SPZ_MAGIC = 0x5053474E
_SPZ_VERSION = 3
_SPZ_COLOUR_SCALE = 0.15
_POSITION_LIMIT = 2**23 - 1
_MOST_FRACTIONAL_BITS = 16
_QUATERNION_LEVELS = 511
_DEGREE_0_HARMONIC = 0.28209479177387814
_LEAST_VISIBLE_OPACITY = 1 / 255


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
        ValueError: for shapes that do not belong together.
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
    def empty(cls) -> SplatCloud:
        """A cloud without Gaussians."""
        return cls(*(np.zeros(shape, np.float32) for shape in [(0, 3), (0, 3), (0, 4), (0,), (0, 3)]))

    @classmethod
    def from_parameters(
        cls,
        means: ArrayLike,
        log_scales: ArrayLike,
        quaternions: ArrayLike,
        opacity_logits: ArrayLike,
        harmonics: ArrayLike,
    ) -> SplatCloud:
        """From an optimiser's tensors on the CPU: log scales, opacity logits and (N, K, 3) harmonics.

        Only the harmonics' constant band is kept: colour = max(0, 0.282 * band + 0.5), the convention
        of 3D Gaussian Splatting (Kerbl et al. 2023).
        """
        band = np.asarray(harmonics, np.float32)[:, 0]
        return cls(
            np.asarray(means, np.float32),
            np.exp(np.asarray(log_scales, np.float32)),
            np.asarray(quaternions, np.float32),
            np.asarray(1 / (1 + np.exp(-np.asarray(opacity_logits, np.float32))), np.float32),
            np.clip(_DEGREE_0_HARMONIC * band + 0.5, 0, 1).astype(np.float32),
        )

    def __len__(self) -> int:
        return len(self.means)

    def select(self, index: ArrayLike) -> SplatCloud:
        """The Gaussians that a boolean mask or integer index (N,) names."""
        rows = np.asarray(index)
        return SplatCloud(
            self.means[rows], self.scales[rows], self.quaternions[rows], self.opacities[rows], self.srgb[rows]
        )


def drawable(cloud: SplatCloud) -> SplatCloud:
    """Without Gaussians that no renderer shows: not finite, no size, or fainter than one grey level."""
    values = np.hstack([cloud.means, cloud.scales, cloud.quaternions, cloud.opacities[:, None], cloud.srgb])
    visible = np.isfinite(values).all(axis=1) & (cloud.opacities >= _LEAST_VISIBLE_OPACITY)
    visible &= (cloud.scales > 0).all(axis=1) & (np.linalg.norm(cloud.quaternions, axis=1) > 1e-12)
    return cloud if visible.all() else cloud.select(visible)


def most_important(cloud: SplatCloud, limit: int, position: ArrayLike) -> SplatCloud:
    """At most limit Gaussians, those that cover the most seen from position (3,); order is kept."""
    if len(cloud) <= limit:
        return cloud
    distance = np.linalg.norm(cloud.means - np.asarray(position, np.float32), axis=1)
    area = np.sort(cloud.scales, axis=1)[:, 1:].prod(axis=1)
    importance = cloud.opacities * area / np.maximum(distance, 1e-6) ** 2
    chosen = np.argsort(-importance, kind="stable")[:limit]
    return cloud.select(np.sort(chosen))


def spz_bytes(cloud: SplatCloud) -> bytes:
    """The cloud as an SPZ 3 file, whose axes are OpenGL's (x right, y up, z backward).

    Precision: positions to 2^-16 m or, for large scenes, 24 bits over the extent; scales to 3 %;
    colours to 1/136; rotations to 0.2 degrees. Same cloud, same bytes.
    """
    visible = drawable(cloud)
    bits = _fractional_bits(visible.means)
    header = struct.pack("<IIIBBBB", _SPZ_MAGIC, _SPZ_VERSION, len(visible), 0, bits, 0, 0)
    sections = [
        _encoded_positions(visible.means * (1, -1, -1), bits),
        _to_bytes(visible.opacities * 255),
        _to_bytes(((visible.srgb - 0.5) / _DEGREE_0_HARMONIC * _SPZ_COLOUR_SCALE + 0.5) * 255),
        _to_bytes((np.log(visible.scales) + 10) * 16),
        _encoded_rotations(visible.quaternions * (1, 1, -1, -1)),
    ]
    return gzip.compress(header + b"".join(sections), mtime=0)


def _fractional_bits(means: Float32Array) -> int:
    extent = float(np.abs(means).max(initial=1e-6))
    return int(np.clip(np.floor(np.log2(_POSITION_LIMIT / extent)), 0, _MOST_FRACTIONAL_BITS))


def _encoded_positions(means: NDArray[np.floating], bits: int) -> bytes:
    """Three 24-bit little-endian two's complement numbers a row."""
    fixed = np.clip(np.rint(means * 2.0**bits), -_POSITION_LIMIT, _POSITION_LIMIT).astype("<i4")
    return np.ascontiguousarray(fixed).view(np.uint8).reshape(-1, 3, 4)[:, :, :3].tobytes()


def _encoded_rotations(quaternions: NDArray[np.floating]) -> bytes:
    """Smallest three components, 10 bits each (sign, 9 bits of magnitude), below 2 bits for the largest's index.

    Components are in xyzw order; the largest is made positive and left out.
    """
    xyzw = np.roll(quaternions, -1, axis=1)
    xyzw /= np.linalg.norm(xyzw, axis=1, keepdims=True)
    largest = np.abs(xyzw).argmax(axis=1)
    rows = np.arange(len(xyzw))
    xyzw *= np.where(xyzw[rows, largest] < 0, -1, 1)[:, None]
    code = largest.astype(np.uint32)
    for component in range(4):
        value = xyzw[:, component]
        magnitude = np.rint(np.abs(value) * np.sqrt(2) * _QUATERNION_LEVELS).clip(0, _QUATERNION_LEVELS)
        ten_bits = ((value < 0).astype(np.uint32) << 9) | magnitude.astype(np.uint32)
        code = np.where(largest == component, code, (code << 10) | ten_bits)
    return bytes(code.astype("<u4").data)


def _to_bytes(values: NDArray[np.floating]) -> bytes:
    return bytes(np.rint(np.clip(values, 0, 255)).astype(np.uint8).data)
