"""Rotates a Gaussian scene: means, orientations, and the spherical harmonics of the view-dependent colour."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from scenewright_stages.vision.gaussians.kernels.harmonics import fill_basis
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import quaternion_from_rotation

_BANDS = ((1, 4), (4, 9), (9, 16))
_DIRECTIONS = 64


def rotated(scene: GaussianScene, rotation: ArrayLike) -> GaussianScene:
    """The scene with every point x moved to R x; rotated cameras see the same image.

    Raises:
        ValueError: rotation is not a proper (3, 3) rotation.
    """
    turn = np.asarray(rotation, np.float64)
    if turn.shape != (3, 3) or not np.allclose(turn @ turn.T, np.eye(3), atol=1e-9) or np.linalg.det(turn) < 0:
        raise ValueError("a proper (3, 3) rotation is needed, without scale or mirror")
    matrix = torch.from_numpy(turn).to(scene.means)
    harmonics = scene.spherical_harmonics.clone()
    for first, stop in _BANDS:
        if harmonics.shape[1] >= stop:
            band = torch.from_numpy(band_rotation(turn, first, stop)).to(harmonics)
            harmonics[:, first:stop] = torch.einsum("ij,njc->nic", band, harmonics[:, first:stop])
    return GaussianScene(
        scene.means @ matrix.T,
        scene.log_scales,
        _turned_quaternions(scene.quaternions, turn),
        scene.opacity_logits,
        harmonics,
    )


def band_rotation(turn: NDArray[np.float64], first: int, stop: int) -> NDArray[np.float64]:
    """(K, K) matrix that rotates the coefficients `first` to `stop` - 1, one band of spherical harmonics.

    Rotated basis functions are linear combinations of the same band. The matrix is solved from their values in more
    directions than there are functions.
    """
    random = np.random.default_rng(0)
    directions = random.normal(size=(_DIRECTIONS, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    before, after = (_basis(each)[:, first:stop] for each in (directions, directions @ turn.T))
    found, *_ = np.linalg.lstsq(after, before, rcond=None)
    return np.asarray(found, np.float64)


def _basis(directions: NDArray[np.float64]) -> NDArray[np.float64]:
    values = np.zeros((len(directions), 16))
    for (x, y, z), row in zip(directions, values, strict=True):
        fill_basis(x, y, z, row)
    return values


def _turned_quaternions(quaternions: torch.Tensor, turn: NDArray[np.float64]) -> torch.Tensor:
    """(N, 4) wxyz quaternions followed by a rotation."""
    a = torch.from_numpy(quaternion_from_rotation(turn)).to(quaternions)
    w, x, y, z = a
    bw, bx, by, bz = quaternions.unbind(1)
    return torch.stack(
        [
            w * bw - x * bx - y * by - z * bz,
            w * bx + x * bw + y * bz - z * by,
            w * by - x * bz + y * bw + z * bx,
            w * bz + x * by - y * bx + z * bw,
        ],
        dim=1,
    )
