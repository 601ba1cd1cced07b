"""glTF binary files with the extension KHR_gaussian_splatting: reads their splats, and completes their metadata.

splat-transform writes the splats. It knows neither licence nor models, which `annotate_glb` adds. Scale and opacity are
linear in these files, rotations are xyzw, y is up.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.scene import GaussianScene

_HEADER, _CHUNK = struct.Struct("<4sII"), struct.Struct("<I4s")
_EXTENSION = "KHR_gaussian_splatting"
_TYPES = {5121: "u1", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


def read_glb_parts(path: Path) -> tuple[dict[str, Any], memoryview]:
    """The JSON of a GLB file and its binary chunk.

    Raises:
        FormatError: it is not a whole GLB file of version 2.
    """
    # Mapped and not read: a scene of millions of splats has gigabytes.
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if path.stat().st_size else b"")
    if len(data) < _HEADER.size + _CHUNK.size:
        raise FormatError(f"{path.name} is not a GLB file")
    magic, version, total = _HEADER.unpack_from(data)
    length, kind = _CHUNK.unpack_from(data, _HEADER.size)
    if magic != b"glTF" or version != 2 or total != len(data) or kind != b"JSON":
        raise FormatError(f"{path.name} is not a whole GLB file of version 2")
    start = _HEADER.size + _CHUNK.size
    return json.loads(bytes(data[start : start + length])), data[start + length + _CHUNK.size :]


def accessor(document: Mapping[str, Any], binary: memoryview, number: int) -> NDArray[Any]:
    """(N, width) array of one accessor; copied only if its items lie apart."""
    entry = document["accessors"][number]
    view = document["bufferViews"][entry["bufferView"]]
    dtype, width = np.dtype(_TYPES[entry["componentType"]]), _WIDTHS[entry["type"]]
    start = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
    stride = view.get("byteStride", dtype.itemsize * width)
    count = entry["count"]
    return np.ndarray((count, width), dtype, binary, start, (stride, dtype.itemsize))


def read_glb(path: Path) -> GaussianScene:
    """The splats of a GLB file, in its own axes (y up).

    Raises:
        FormatError: it has no splats, or is damaged.
    """
    document, binary = read_glb_parts(path)
    primitives = [each for mesh in document.get("meshes", ()) for each in mesh["primitives"]]
    splats = [each for each in primitives if _EXTENSION in each.get("extensions", {})]
    if len(splats) != 1:
        raise FormatError(f"{path.name} has {len(splats)} primitives with {_EXTENSION} instead of one")
    names = splats[0]["attributes"]

    def column(name: str) -> NDArray[np.float32]:
        if name not in names:
            raise FormatError(f"{path.name} has no attribute {name}")
        return np.array(accessor(document, binary, names[name]), np.float32)

    own = f"{_EXTENSION}:"
    count = document["accessors"][names["POSITION"]]["count"]
    degree = max(d for d in range(4) if f"{own}SH_DEGREE_{d}_COEF_0" in names)
    harmonics = np.empty((count, (degree + 1) ** 2, 3), np.float32)
    place = 0
    for d in range(degree + 1):
        for coefficient in range(2 * d + 1):
            harmonics[:, place] = column(f"{own}SH_DEGREE_{d}_COEF_{coefficient}")
            place += 1
    share = np.clip(column(f"{own}OPACITY")[:, 0].astype(np.float64), 1e-7, 1 - 1e-7)
    return GaussianScene(
        torch.from_numpy(column("POSITION")),
        torch.from_numpy(np.log(np.maximum(column(f"{own}SCALE"), 1e-12))),
        torch.from_numpy(np.roll(column(f"{own}ROTATION"), 1, axis=1)),
        torch.from_numpy(np.log(share / (1 - share)).astype(np.float32)),
        torch.from_numpy(harmonics),
    )


def annotate_glb(path: Path, copyright_text: str, extras: Mapping[str, Any]) -> None:
    """Adds who owns the scene and how it was made to the asset of a GLB file. The splats keep their bytes."""
    document, binary = read_glb_parts(path)
    asset = document.setdefault("asset", {})
    if copyright_text:
        asset["copyright"] = copyright_text
    asset["extras"] = dict(extras)
    # The new file takes the old one's name when it is whole: the splats are still being read from the old one.
    completed = path.with_name(f".{path.name}")
    write_glb(completed, document, [binary])
    completed.replace(path)


def write_glb(path: Path, document: Mapping[str, Any], blocks: Sequence[bytes | memoryview]) -> None:
    """Writes a GLB file of one JSON and one binary chunk, whose blocks follow each other.

    Raises:
        FormatError: it would be larger than such a file can be.
    """
    text = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
    text += b" " * (-len(text) % 4)
    length = sum(len(block) for block in blocks)
    filling = b"\0" * (-length % 4)
    length += len(filling)
    size = _HEADER.size + 2 * _CHUNK.size + len(text) + length
    if size >= 2**32:
        raise FormatError(
            f"{path.name} would have {size} bytes; GLB files end at 4 GiB: export fewer splats, or as usdc"
        )
    with path.open("wb") as file:
        file.write(_HEADER.pack(b"glTF", 2, size))
        file.write(_CHUNK.pack(len(text), b"JSON") + text + _CHUNK.pack(length, b"BIN\0"))
        for block in blocks:
            file.write(block)
        file.write(filling)
