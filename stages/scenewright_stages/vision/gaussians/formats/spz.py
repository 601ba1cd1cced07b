"""Reads SPZ files of versions 2 and 3, as Niantic published them (github.com/nianticlabs/spz, MIT).

A gzip stream holds a 16-byte header and one section per attribute. By the specification the file's axes are right, up,
back (OpenGL).
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.scene import GaussianScene

_MAGIC = 0x5053474E
SPZ_HEADER = struct.Struct("<IIIBBBB")
"""Magic, version, number of splats, degree of harmonics, fractional bits of positions, flags, and a reserved byte."""
_COLOUR_SCALE = 0.15
_LEAST_OPACITY = 0.5 / 255


def read_spz(path: Path) -> GaussianScene:
    """The scene of an SPZ file, in its own axes.

    Raises:
        FormatError: it is not an SPZ file of version 2 or 3, or is damaged.
    """
    (_, _, count, degree, bits, _, _), sections = spz_sections(path)
    positions, opacities, colours, scales, turns, rest = sections
    coefficients = (degree + 1) ** 2 - 1
    harmonics = np.empty((count, coefficients + 1, 3), np.float32)
    harmonics[:, 0] = (colours / np.float32(255) - 0.5) / _COLOUR_SCALE
    # In place: millions of splats have gigabytes of coefficients.
    np.subtract(rest.reshape(count, coefficients, 3), np.float32(128), out=harmonics[:, 1:])
    harmonics[:, 1:] /= 128
    share = np.clip(opacities[:, 0] / 255.0, _LEAST_OPACITY, 1 - _LEAST_OPACITY)
    return GaussianScene(
        torch.from_numpy(_positions(positions, bits)),
        torch.from_numpy(scales.astype(np.float32) / 16 - 10),
        torch.from_numpy(_quaternions(turns)),
        torch.from_numpy(np.log(share / (1 - share)).astype(np.float32)),
        torch.from_numpy(harmonics),
    )


def spz_sections(path: Path) -> tuple[tuple[int, ...], list[NDArray[np.uint8]]]:
    """The header of an SPZ file and its six sections: positions, opacities, colours, scales, rotations, harmonics.

    Returns:
        the fields of `SPZ_HEADER`, and (N, bytes of a splat) arrays.

    Raises:
        FormatError: it is not an SPZ file of version 2 or 3, or is damaged.
    """
    try:
        data = zlib.decompress(path.read_bytes(), wbits=31)
    except zlib.error as problem:
        raise FormatError(f"{path.name} is not an SPZ file of version 2 or 3: {problem}") from problem
    header = SPZ_HEADER.unpack_from(data)
    magic, version, count, degree = header[:4]
    if magic != _MAGIC or version not in (2, 3) or degree > 3:
        raise FormatError(f"{path.name} is SPZ version {version} of degree {degree}; versions 2 and 3 can be read")
    coefficients = (degree + 1) ** 2 - 1
    turn_bytes = 4 if version == 3 else 3
    sizes = (9, 1, 3, 3, turn_bytes, 3 * coefficients)
    if len(data) != SPZ_HEADER.size + count * sum(sizes):
        raise FormatError(f"{path.name} holds {len(data)} bytes, {count} splats of degree {degree} need others")
    sections, start = [], SPZ_HEADER.size
    for size in sizes:
        sections.append(np.frombuffer(data, np.uint8, count * size, start).reshape(count, size))
        start += count * size
    return header, sections


def _positions(data: NDArray[np.uint8], bits: int) -> NDArray[np.float32]:
    """(N, 3) from 24-bit little-endian two's complement numbers with so many fractional bits."""
    words = np.zeros((len(data), 3, 4), np.uint8)
    words[:, :, 1:] = data.reshape(-1, 3, 3)
    # The number lies in the upper three bytes, so an arithmetic shift keeps its sign.
    fixed = words.view("<i4")[:, :, 0] >> 8
    return np.asarray(fixed * np.float32(2.0**-bits), np.float32)


def _quaternions(data: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 4) wxyz. Version 3 leaves out the largest component, version 2 the real one."""
    if data.shape[1] == 3:
        xyz = data.astype(np.float32) / 127.5 - 1
        w = np.sqrt(np.maximum(0, 1 - (xyz**2).sum(axis=1)))
        return np.concatenate([w[:, None], xyz], axis=1)
    code = np.ascontiguousarray(data).view("<u4")[:, 0]
    largest = code >> 30
    xyzw = np.zeros((len(code), 4), np.float32)
    for component in (3, 2, 1, 0):
        stored = largest != component
        magnitude = (code & 511).astype(np.float32) / 511 * np.float32(np.sqrt(0.5))
        value = np.where(code & 512, -magnitude, magnitude)
        xyzw[:, component] = np.where(stored, value, 0)
        code = np.where(stored, code >> 10, code)
    rows = np.arange(len(code))
    xyzw[rows, largest] = np.sqrt(np.maximum(0, 1 - (xyzw**2).sum(axis=1)))
    return np.roll(xyzw, 1, axis=1)
