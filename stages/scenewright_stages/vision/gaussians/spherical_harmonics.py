"""Rotation of real spherical harmonics (bands 0 to 3, basis of `kernels.harmonics`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .kernels.harmonics import fill_basis


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
