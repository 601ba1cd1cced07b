"""Reads SOG files of version 2, as PlayCanvas documents them: WebP textures and ``meta.json``, bundled in a ZIP.

A texture holds one attribute; pixel i belongs to splat i. Scales and colours are indices into codebooks of 256 numbers,
and the higher harmonics are indices into a palette. The axes are those of the PLY that was converted.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.scene import GaussianScene

_PALETTE_COLUMNS = 64
_LEAST_OPACITY = 0.5 / 255


def read_sog(path: Path) -> GaussianScene:
    """The scene of a ``.sog`` file, or of a folder with its parts.

    Raises:
        FormatError: it is not a SOG file of version 2, or is damaged.
    """
    try:
        if path.is_dir():
            return _scene(path.name, lambda name: (path / name).read_bytes())
        with zipfile.ZipFile(path) as archive:
            return _scene(path.name, archive.read)
    except (zipfile.BadZipFile, OSError, KeyError, ValueError) as problem:
        raise FormatError(f"{path.name} is not a SOG file of version 2: {problem}") from problem


def _scene(name: str, read: Callable[[str], bytes]) -> GaussianScene:
    meta = json.loads(read("meta.json"))
    if meta.get("version") != 2:
        raise FormatError(f"{name} has version {meta.get('version')}")
    count = int(meta["count"])

    def pixels(file: str) -> NDArray[np.uint8]:
        with Image.open(io.BytesIO(read(file))) as picture:
            return np.asarray(picture.convert("RGBA")).reshape(-1, 4)

    def texture(file: str) -> NDArray[np.uint8]:
        return pixels(file)[:count]

    scales = np.array(meta["scales"]["codebook"], np.float32)
    colours = texture(meta["sh0"]["files"][0])
    harmonics = [np.array(meta["sh0"]["codebook"], np.float32)[colours[:, :3]][:, None]]
    if "shN" in meta:
        harmonics.append(_higher(meta["shN"], texture, read))
    share = np.clip(colours[:, 3] / 255.0, _LEAST_OPACITY, 1 - _LEAST_OPACITY)
    return GaussianScene(
        torch.from_numpy(_means(meta["means"], texture)),
        torch.from_numpy(scales[texture(meta["scales"]["files"][0])[:, :3]]),
        torch.from_numpy(_quaternions(texture(meta["quats"]["files"][0]))),
        torch.from_numpy(np.log(share / (1 - share)).astype(np.float32)),
        torch.from_numpy(np.concatenate(harmonics, axis=1)),
    )


def _means(meta: dict[str, Any], texture: Callable[[str], NDArray[np.uint8]]) -> NDArray[np.float32]:
    """(N, 3) from the low and high bytes of 16-bit numbers on a signed logarithmic scale."""
    low, high = (texture(file)[:, :3].astype(np.float64) for file in meta["files"])
    least, most = np.array(meta["mins"]), np.array(meta["maxs"])
    logarithm = least + (most - least) * (low + 256 * high) / 65535
    return np.asarray(np.sign(logarithm) * np.expm1(np.abs(logarithm)), np.float32)


def _quaternions(data: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 4) wxyz from three components and, in the fourth channel, which one is left out."""
    three = (data[:, :3].astype(np.float32) / 255 - 0.5) * np.float32(np.sqrt(2))
    largest = data[:, 3].astype(np.int64) - 252
    if len(largest) and (largest.min() < 0 or largest.max() > 3):
        raise ValueError("a rotation leaves out no component")
    found = np.empty((len(data), 4), np.float32)
    rest = np.sqrt(np.maximum(0, 1 - (three**2).sum(axis=1)))
    for component in range(4):
        rows = largest == component
        found[rows] = np.insert(three[rows], component, rest[rows], axis=1)
    return found


def _higher(
    meta: dict[str, Any], texture: Callable[[str], NDArray[np.uint8]], read: Callable[[str], bytes]
) -> NDArray[np.float32]:
    """(N, K - 1, 3) from a palette of coefficients and each splat's label."""
    coefficients = (int(meta["bands"]) + 1) ** 2 - 1
    centroids, labels = meta["files"]
    with Image.open(io.BytesIO(read(centroids))) as picture:
        palette = np.asarray(picture.convert("RGB"))
    entries = palette.reshape(-1, _PALETTE_COLUMNS, coefficients, 3).reshape(-1, coefficients, 3)
    index = texture(labels)
    number = index[:, 0].astype(np.int64) + 256 * index[:, 1].astype(np.int64)
    return np.asarray(np.array(meta["codebook"], np.float32)[entries[number]])
