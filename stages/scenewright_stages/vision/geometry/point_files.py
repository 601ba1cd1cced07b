"""Plain coloured points as PLY files, and the header and records that all PLY files share.

Readers take a file's bytes or an open file. Only the vertex element is read, which comes first.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_MAXIMUM_HEADER_BYTES = 65536
_COLOURS = ("red", "green", "blue")
_DIFFUSE = tuple(f"diffuse_{name}" for name in _COLOURS)
"""The colours' names in files of older programs."""
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
    """The file is not a PLY file of the expected kind."""


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
    return parse_points(Path(path).read_bytes(), str(path))


def parse_points(data: bytes, path: str) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Like :func:`read_points`, from the file's content; `path` names it in errors.

    Raises:
        PlyError: the file is truncated, lacks positions or is another kind of PLY.
    """
    file = io.BytesIO(data)
    count, dtype, is_text = parse_header(file, path)
    vertices = _text_records(file, count, dtype, path) if is_text else records(file, count, dtype, path)
    names = dtype.names or ()
    rest = file.read()
    if rest.strip() and data[: len(data) - len(rest)].count(b"\nelement ") == 1:
        raise PlyError(f"{path} has {len(rest)} bytes after its {count} points: it is damaged; export it again")
    if not {"x", "y", "z"} <= set(names):
        raise PlyError(f"{path} has no x, y, z")
    points = np.stack([vertices[axis].astype(np.float64) for axis in "xyz"], axis=1)
    channels = next((each for each in (_COLOURS, _DIFFUSE) if set(each) <= set(names)), ())
    if not channels:
        return points, np.full((count, 3), 128, np.uint8)
    colours = np.stack([vertices[name] for name in channels], axis=1)
    if dtype[channels[0]].kind == "f":
        # Some programs write colours from 0 to 1.
        colours = np.round(np.clip(np.nan_to_num(colours), 0, 1) * 255)
    return points, colours.astype(np.uint8)


def records(file: BinaryIO, count: int, dtype: np.dtype[Any], path: Path | str) -> NDArray[Any]:
    """The binary records of an open file, from its first vertex on. Raises PlyError if it ends early."""
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


def parse_header(file: BinaryIO, path: Path | str) -> tuple[int, np.dtype[Any], bool]:
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
