"""Moving a scene by a similarity: its spherical harmonics (bands 0 to 3, basis of `kernels.harmonics`) turn along."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from scenewright_stages.vision.gaussians.kernels.harmonics import fill_basis
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import check_rigid, quaternion_from_rotation


def transform_scene(scene: GaussianScene, new_from_old: ArrayLike) -> GaussianScene:
    """The scene moved by a similarity (4, 4): rotation, translation and one positive scale.

    Spherical harmonics turn along, so that a camera moved the same way (its distance scaled) sees the same.

    Raises:
        ValueError: if the matrix is not such a similarity.
    """
    matrix = np.asarray(new_from_old, np.float64)
    scale = float(np.cbrt(np.linalg.det(matrix[:3, :3]))) if np.isfinite(matrix).all() else 0.0
    if scale <= 0:
        raise ValueError("a similarity needs finite values and a positive determinant")
    motion = matrix.copy()
    motion[:3, :3] /= scale
    check_rigid(motion)
    rotation = motion[:3, :3]
    means = scene.means.detach().cpu().double().numpy() @ matrix[:3, :3].T + matrix[:3, 3]
    harmonics = rotated(scene.spherical_harmonics.detach().cpu().numpy(), rotation)
    turn = torch.from_numpy(quaternion_from_rotation(rotation)).to(scene.quaternions)
    return GaussianScene(
        torch.from_numpy(means).to(scene.means),
        scene.log_scales + float(np.log(scale)),
        _quaternion_product(turn, scene.quaternions),
        scene.opacity_logits.clone(),
        torch.from_numpy(harmonics).to(scene.spherical_harmonics),
    )


def _quaternion_product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Hamilton product of left (4,) with right (N, 4), wxyz."""
    w, x, y, z = left
    rows = [
        torch.stack([w, -x, -y, -z]),
        torch.stack([x, w, -z, y]),
        torch.stack([y, z, w, -x]),
        torch.stack([z, -y, x, w]),
    ]
    return right @ torch.stack(rows).T


def basis(directions: ArrayLike, count: int) -> NDArray[np.float64]:
    """(M, count) basis values at directions (M, 3), normalised here; count in {1, 4, 9, 16}."""
    vectors = np.asarray(directions, np.float64)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    values = np.empty((len(vectors), count))
    for row, (x, y, z) in zip(values, vectors, strict=True):
        fill_basis(x, y, z, row)
    return values


def band_rotations(rotation: ArrayLike, count: int) -> list[NDArray[np.float64]]:
    """One (2l + 1, 2l + 1) matrix D per band l with basis_l(R d) D = basis_l(d) for every direction d.

    Hence coefficients D c seen along R d give the colour that c gave along d. Each band is closed under
    rotation, so D is solved exactly from more directions than it has rows.
    """
    directions = _spread_directions(64)
    before = basis(directions, count)
    after = basis(directions @ np.asarray(rotation, np.float64).T, count)
    return [
        np.asarray(np.linalg.lstsq(after[:, band], before[:, band], rcond=None)[0], np.float64)
        for band in (slice(degree**2, (degree + 1) ** 2) for degree in range(round(count**0.5)))
    ]


def rotated(coefficients: NDArray[Any], rotation: ArrayLike) -> NDArray[np.float64]:
    """Coefficients (N, K, 3) of the same colours after rotating the world by rotation (3, 3)."""
    matrices = band_rotations(rotation, coefficients.shape[1])
    result = np.array(coefficients, np.float64)
    for degree, matrix in enumerate(matrices):
        band = slice(degree**2, (degree + 1) ** 2)
        result[:, band] = np.einsum("ij,njc->nic", matrix, result[:, band])
    return result


def _spread_directions(count: int) -> NDArray[np.float64]:
    """(count, 3) unit vectors spread over the sphere by the golden angle."""
    index = np.arange(count) + 0.5
    polar = np.arccos(1 - 2 * index / count)
    azimuth = np.pi * (1 + 5**0.5) * index
    sine = np.sin(polar)
    return np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), np.cos(polar)], axis=1)
