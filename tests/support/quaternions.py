"""Rotations as quaternions and back, as references for what kernels and files hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64Array = NDArray[np.float64]


def rotation_from_quaternion(quaternion: ArrayLike) -> Float64Array:
    """(..., 3, 3) rotations of (..., 4) quaternions in wxyz order; they are normalised first.

    Raises:
        ValueError: for a zero quaternion.
    """
    q = np.asarray(quaternion, np.float64)
    norm = np.linalg.norm(q, axis=-1, keepdims=True)
    if np.any(norm < 1e-12):
        raise ValueError("a zero quaternion is not a rotation")
    w, x, y, z = np.moveaxis(q / norm, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def quaternion_from_rotation(rotation: ArrayLike) -> Float64Array:
    """(4,) unit quaternion wxyz with w >= 0 of a (3, 3) rotation.

    Shepperd's method (1978): the largest of the four squared components is the divisor, which stays
    accurate for half turns.
    """
    r = np.asarray(rotation, np.float64)
    diagonal = np.diag(r)
    squares = np.array([np.trace(r), *diagonal])
    index = int(np.argmax(squares))
    if index == 0:
        q = np.array([1 + np.trace(r), r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    else:
        i = index - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        q = np.empty(4)
        q[0] = r[k, j] - r[j, k]
        q[1 + i] = 1 + r[i, i] - r[j, j] - r[k, k]
        q[1 + j] = r[j, i] + r[i, j]
        q[1 + k] = r[k, i] + r[i, k]
    q /= np.linalg.norm(q)
    return -q if q[0] < 0 else q
