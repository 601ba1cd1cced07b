"""Reads compressed PLY files as PlayCanvas documents them: chunks of 256 splats, 16 bytes each.

A chunk holds the ranges of position, logarithmic scale and colour; a splat holds packed shares of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.formats.ply_elements import parse_elements
from scenewright_stages.vision.gaussians.kernels.harmonics import C0
from scenewright_stages.vision.gaussians.scene import GaussianScene

_CHUNK = 256
_BLOCK = 1024 * _CHUNK
"""Splats that are unpacked at a time."""
_LEAST_OPACITY = 0.5 / 255


def read_compressed_ply(path: Path) -> GaussianScene:
    """The scene of a ``.compressed.ply`` file.

    Raises:
        FormatError: it is not a compressed PLY, or is damaged.
    """
    with path.open("rb") as file:
        header = parse_elements(file, path)
        tables = {}
        for element in header.elements:
            dtype = element.dtype(header.order)
            data = file.read(element.count * dtype.itemsize)
            if len(data) != element.count * dtype.itemsize:
                raise FormatError(f"{path.name} ends inside its element {element.name}")
            tables[element.name] = np.frombuffer(data, dtype, element.count)
    if not {"chunk", "vertex"} <= tables.keys() or "packed_position" not in (tables["vertex"].dtype.names or ()):
        raise FormatError(f"{path.name} has no packed splats")
    chunk, vertex, rest = tables["chunk"], tables["vertex"], tables.get("sh")
    count, coefficients = len(vertex), 1 + (0 if rest is None else len(rest.dtype.names or ()) // 3)
    whole = GaussianScene.unfilled(count, coefficients)
    # Block by block: what lies between packed and unpacked numbers is several times as large as they are.
    for start in range(0, count, _BLOCK):
        rows = slice(start, min(start + _BLOCK, count))
        block = _unpacked(chunk, vertex[rows], None if rest is None else rest[rows], start)
        for name, tensor in block.tensors.items():
            whole.tensors[name][rows] = tensor
    return whole


def _unpacked(chunk: NDArray[Any], vertex: NDArray[Any], rest: NDArray[Any] | None, start: int) -> GaussianScene:
    """The splats of some records, the first of which has number `start` in the file."""
    rows = (start + np.arange(len(vertex))) // _CHUNK

    def spread(code: NDArray[np.uint32], names: tuple[str, str, str], what: str) -> NDArray[np.float32]:
        shares = np.stack([(code >> 21) / 2047, (code >> 11 & 1023) / 1023, (code & 2047) / 2047], axis=1)
        low = np.stack([chunk[f"min_{what}{name}"] for name in names], axis=1)[rows]
        high = np.stack([chunk[f"max_{what}{name}"] for name in names], axis=1)[rows]
        return np.asarray(low + (high - low) * shares, np.float32)

    code = vertex["packed_color"]
    levels = np.stack([code >> 24, code >> 16 & 255, code >> 8 & 255], axis=1) / 255
    if "min_r" in (chunk.dtype.names or ()):
        low, high = (np.stack([chunk[f"{end}_{name}"] for name in "rgb"], axis=1)[rows] for end in ("min", "max"))
        levels = low + (high - low) * levels
    harmonics = [((levels - 0.5) / C0).astype(np.float32)[:, None]]
    if rest is not None:
        levels_rest = np.stack([rest[name] for name in rest.dtype.names or ()], axis=1)
        values = ((levels_rest.astype(np.float32) + 0.5) / 256 - 0.5) * 8
        harmonics.append(values.reshape(len(vertex), 3, -1).transpose(0, 2, 1).astype(np.float32))
    share = np.clip((code & 255) / 255, _LEAST_OPACITY, 1 - _LEAST_OPACITY)
    return GaussianScene(
        torch.from_numpy(spread(vertex["packed_position"], ("x", "y", "z"), "")),
        torch.from_numpy(spread(vertex["packed_scale"], ("x", "y", "z"), "scale_")),
        torch.from_numpy(_quaternions(vertex["packed_rotation"])),
        torch.from_numpy(np.log(share / (1 - share)).astype(np.float32)),
        torch.from_numpy(np.concatenate(harmonics, axis=1)),
    )


def _quaternions(code: NDArray[np.uint32]) -> NDArray[np.float32]:
    """(N, 4) wxyz from three components of 10 bits below the index of the one that is left out."""
    three = np.stack([code >> 20 & 1023, code >> 10 & 1023, code & 1023], axis=1)
    three = (three / 1023 - 0.5) * np.sqrt(2)
    rest = np.sqrt(np.maximum(0, 1 - (three**2).sum(axis=1)))
    found = np.empty((len(code), 4), np.float32)
    for component in range(4):
        rows = code >> 30 == component
        found[rows] = np.insert(three[rows], component, rest[rows], axis=1)
    return found
