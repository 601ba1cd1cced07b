"""Gaussian scenes as PLY files in the layout of Kerbl et al. 2023, and plain coloured points.

The vertex properties, all little-endian float32, are x y z nx ny nz f_dc_0..2 f_rest_0..(3K-4) opacity
scale_0..2 rot_0..3: opacity is a logit, scales are natural logarithms, the rotation is wxyz, and f_rest
holds all higher coefficients of red, then of green, then of blue.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.gaussians.scene import GaussianScene

_MAXIMUM_HEADER_BYTES = 65536
_COLOURS = ("red", "green", "blue")
_TYPES = {
    **dict.fromkeys(("float", "float32"), "<f4"),
    **dict.fromkeys(("double", "float64"), "<f8"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("short", "int16"), "<i2"),
    **dict.fromkeys(("uint", "uint32"), "<u4"),
    **dict.fromkeys(("int", "int32"), "<i4"),
}


class PlyError(ValueError):
    """The file is not a Gaussian scene."""


def write_ply(scene: GaussianScene, path: Path | str) -> None:
    """Writes the scene deterministically. Parent folders must exist."""
    tensors = {name: tensor.detach().cpu().float().numpy() for name, tensor in scene.tensors.items()}
    harmonics = tensors["spherical_harmonics"]
    count = len(scene)
    columns = [
        tensors["means"],
        np.zeros((count, 3), np.float32),
        harmonics[:, 0],
        harmonics[:, 1:].transpose(0, 2, 1).reshape(count, 3 * (harmonics.shape[1] - 1)),
        tensors["opacity_logits"][:, None],
        tensors["log_scales"],
        tensors["quaternions"],
    ]
    table = np.ascontiguousarray(np.concatenate(columns, axis=1), "<f4")
    with Path(path).open("wb") as file:
        file.write(_header(count, property_names(harmonics.shape[1])))
        file.write(table.tobytes())


def write_points(path: Path | str, points: NDArray[np.floating], colours: NDArray[np.uint8]) -> None:
    """Write coloured points, (N, 3) each, as a binary PLY; equal points give equal bytes."""
    table = np.zeros(len(points), [("xyz", "<f4", 3), ("rgb", "u1", 3)])
    table["xyz"], table["rgb"] = points, colours
    names = "".join(f"property float {axis}\n" for axis in "xyz")
    names += "".join(f"property uchar {name}\n" for name in _COLOURS)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(points)}\n{names}end_header\n"
    Path(path).write_bytes(header.encode() + table.tobytes())


def read_points(path: Path | str) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Positions (N, 3) and colours (N, 3) of a PLY point cloud, binary or text; grey if it has no colours.

    Raises:
        PlyError: the file is truncated, lacks positions or is another kind of PLY.
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        count, dtype, is_text = _parse_header(file, path)
        vertices = _text_records(file, count, dtype, path) if is_text else _records(file, count, dtype, path)
    names = dtype.names or ()
    if not {"x", "y", "z"} <= set(names):
        raise PlyError(f"{path} has no x, y, z")
    points = np.stack([vertices[axis].astype(np.float64) for axis in "xyz"], axis=1)
    if not set(_COLOURS) <= set(names):
        return points, np.full((count, 3), 128, np.uint8)
    return points, np.stack([vertices[name].astype(np.uint8) for name in _COLOURS], axis=1)


def property_names(harmonics: int) -> list[str]:
    """Vertex properties in file order for K = harmonics coefficients."""
    rest = [f"f_rest_{k}" for k in range(3 * (harmonics - 1))]
    scales, rotation = [f"scale_{k}" for k in range(3)], [f"rot_{k}" for k in range(4)]
    base = ["f_dc_0", "f_dc_1", "f_dc_2"]
    return ["x", "y", "z", "nx", "ny", "nz", *base, *rest, "opacity", *scales, *rotation]


def read_ply(path: Path | str) -> GaussianScene:
    """Reads a binary little-endian scene with 0 to 3 bands; the properties may be in any order.

    Raises:
        PlyError: the file is truncated, lacks a property or is another kind of PLY.
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        count, dtype, is_text = _parse_header(file, path)
        if is_text:
            raise PlyError(f"{path} is not a binary little-endian PLY")
        vertices = _records(file, count, dtype, path)
    rest = [name for name in dtype.names or () if re.fullmatch(r"f_rest_\d+", name)]
    if len(rest) not in (0, 9, 24, 45):
        raise PlyError(f"{path} has {len(rest)} f_rest properties, expected 0, 9, 24 or 45")
    missing = sorted(set(property_names(1)) - {"nx", "ny", "nz"} - set(dtype.names or ()))
    if missing:
        raise PlyError(f"{path} lacks the properties {', '.join(missing)}")
    return _scene(vertices, len(rest) // 3 + 1)


def _header(count: int, names: list[str]) -> bytes:
    properties = "".join(f"property float {name}\n" for name in names)
    return f"ply\nformat binary_little_endian 1.0\nelement vertex {count}\n{properties}end_header\n".encode()


def _records(file: BinaryIO, count: int, dtype: np.dtype[Any], path: Path | str) -> NDArray[Any]:
    data = file.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise PlyError(f"{path} ends after {len(data)} of {count * dtype.itemsize} data bytes")
    return np.frombuffer(data, dtype, count)


def _text_records(file: BinaryIO, count: int, dtype: np.dtype[Any], path: Path | str) -> NDArray[Any]:
    names = dtype.names or ()
    lines = [file.readline().split() for _ in range(count)]
    if any(len(line) != len(names) for line in lines):
        raise PlyError(f"{path} does not hold {count} lines of {len(names)} numbers")
    try:
        return np.array([tuple(map(float, line)) for line in lines], [(name, "<f8") for name in names])
    except ValueError as problem:
        raise PlyError(f"{path} has a line that is not of numbers: {problem}") from problem


def _parse_header(file: BinaryIO, path: Path | str) -> tuple[int, np.dtype[Any], bool]:
    """Vertex count, record type, and whether the records are text; leaves the file at the first vertex."""
    lines = _header_lines(file, path)
    if lines[:1] != ["ply"] or lines[1:2] not in (["format binary_little_endian 1.0"], ["format ascii 1.0"]):
        raise PlyError(f"{path} is not a binary little-endian PLY")
    body = [line.split() for line in lines[2:] if line and not line.startswith(("comment", "obj_info"))]
    if not body or len(body[0]) != 3 or body[0][:2] != ["element", "vertex"] or not body[0][2].isdigit():
        raise PlyError(f"{path} does not start with a vertex element")
    columns = []
    for words in body[1:]:
        if words[0] == "element":
            break
        if len(words) != 3 or words[0] != "property" or words[1] not in _TYPES:
            raise PlyError(f"{path} has a property that is not a number: {' '.join(words)}")
        columns.append((words[2], _TYPES[words[1]]))
    if len({name for name, _ in columns}) != len(columns):
        raise PlyError(f"{path} names a property twice")
    return int(body[0][2]), np.dtype(columns), lines[1] == "format ascii 1.0"


def _header_lines(file: BinaryIO, path: Path | str) -> list[str]:
    lines: list[str] = []
    size = 0
    while size <= _MAXIMUM_HEADER_BYTES:
        raw = file.readline(_MAXIMUM_HEADER_BYTES)
        size += len(raw)
        line = raw.decode("ascii", "replace").strip()
        if line == "end_header":
            return lines
        if not raw:
            break
        lines.append(line)
    raise PlyError(f"{path} has no PLY header")


def _scene(vertices: NDArray[Any], harmonics: int) -> GaussianScene:
    def stacked(*names: str) -> NDArray[np.float32]:
        return np.stack([vertices[name].astype(np.float32) for name in names], axis=1)

    count = len(vertices)
    coefficients = np.zeros((count, harmonics, 3), np.float32)
    coefficients[:, 0] = stacked("f_dc_0", "f_dc_1", "f_dc_2")
    if harmonics > 1:
        rest = stacked(*(f"f_rest_{k}" for k in range(3 * (harmonics - 1))))
        coefficients[:, 1:] = rest.reshape(count, 3, harmonics - 1).transpose(0, 2, 1)
    arrays = [
        stacked("x", "y", "z"),
        stacked("scale_0", "scale_1", "scale_2"),
        stacked("rot_0", "rot_1", "rot_2", "rot_3"),
        vertices["opacity"].astype(np.float32),
        coefficients,
    ]
    return GaussianScene(*(torch.from_numpy(array) for array in arrays))
