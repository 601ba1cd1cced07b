"""The source atlas: a picture and its mirror images below one another, so that patches may be copied mirrored too.

Block b starts at row b * (H + 1): 0 as it is, 1 left-right, 2 top-bottom, 3 both. One row between the blocks belongs
to none, so neighbours in the atlas are neighbours in the picture (or are not allowed). A row and a column of the atlas
therefore say which pixel is copied and how its surroundings are oriented.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", bound=np.generic)

BLOCKS = 4


def stack(plane: NDArray[T]) -> NDArray[T]:
    """(H, W, ...) -> atlas (4 * (H + 1), W, ...); the rows between the blocks are zero."""
    gap = np.zeros_like(plane[:1])
    parts = [plane, gap, plane[:, ::-1], gap, plane[::-1], gap, plane[::-1, ::-1], gap]
    return np.ascontiguousarray(np.concatenate(parts, axis=0))


def encode(
    rows: NDArray[np.int64], columns: NDArray[np.int64], block: NDArray[np.int64], shape: tuple[int, int]
) -> NDArray[np.int32]:
    """Atlas positions (..., 2) int32 of the picture's pixels, seen in the given blocks."""
    height, width = shape
    atlas_columns = np.where(block & 1, width - 1 - columns, columns)
    atlas_rows = np.where(block & 2, height - 1 - rows, rows) + block * (height + 1)
    return np.stack((atlas_rows, atlas_columns), axis=-1).astype(np.int32)


def decode(
    positions: NDArray[np.int32], shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Rows, columns and blocks of atlas positions (..., 2) in a picture of `shape`; inverse of `encode`."""
    height, width = shape
    rows, columns = positions[..., 0].astype(np.int64), positions[..., 1].astype(np.int64)
    block = rows // (height + 1)
    rows = rows - block * (height + 1)
    rows = np.where(block & 2, height - 1 - rows, rows)
    return rows, np.where(block & 1, width - 1 - columns, columns), block
