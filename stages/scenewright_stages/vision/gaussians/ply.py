"""Gaussian scenes as PLY files in the layout of Kerbl et al. 2023.

The vertex properties, all little-endian float32, are x y z nx ny nz f_dc_0..2 f_rest_0..(3K-4) opacity
scale_0..2 rot_0..3: opacity is a logit, scales are natural logarithms, the rotation is wxyz, and f_rest
holds all higher coefficients of red, then of green, then of blue.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.point_files import PlyError, parse_header, records


def write_ply(scene: GaussianScene, path: Path | str) -> None:
    """Writes the scene deterministically. Parent folders must exist."""
    with Path(path).open("wb") as file:
        file.write(ply_header(len(scene), scene.spherical_harmonics.shape[1]))
        file.write(ply_table(scene).tobytes())


def ply_header(count: int, harmonics: int) -> bytes:
    """The header of a PLY file of so many Gaussians with K = harmonics coefficients."""
    return _header(count, property_names(harmonics))


def ply_table(scene: GaussianScene) -> NDArray[np.float32]:
    """(N, properties) little-endian float32: the records of a PLY file."""
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
    return np.ascontiguousarray(np.concatenate(columns, axis=1), "<f4")


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
        count, dtype, is_text = parse_header(file, path)
        if is_text:
            raise PlyError(f"{path} is not a binary little-endian PLY")
        vertices = records(file, count, dtype, path)
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
