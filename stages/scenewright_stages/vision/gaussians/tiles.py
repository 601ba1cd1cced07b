"""Which tiles of a picture are worth drawing: plain tensor arithmetic on any device, no host waits.

A tile is a square of TILE x TILE pixels; grids are (rows, columns) of tiles, bool tensors of that shape name tiles.
Which tiles a splat reaches is decided as gsplat 1.5 does it: by the rectangle of its integer radii.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from .kernels.layout import TILE


def tile_grid(width: int, height: int) -> tuple[int, int]:
    """(rows, columns) of tiles that cover a picture."""
    return -(-height // TILE), -(-width // TILE)


def tiles_holding(pixels: torch.Tensor) -> torch.Tensor:
    """(rows, columns) bool: tiles with at least one true pixel of an (H, W) bool tensor."""
    height, width = pixels.shape
    rows, columns = tile_grid(width, height)
    padded = functional.pad(pixels, (0, columns * TILE - width, 0, rows * TILE - height))
    return padded.view(rows, TILE, columns, TILE).any(dim=3).any(dim=1)


def pixels_of(tiles: torch.Tensor, width: int, height: int) -> torch.Tensor:
    """(H, W) bool: the pixels of the true tiles."""
    rows, columns = tiles.shape
    spread = tiles[:, None, :, None].expand(rows, TILE, columns, TILE)
    return spread.reshape(rows * TILE, columns * TILE)[:height, :width]


def reaching(means2d: torch.Tensor, radii: torch.Tensor, tiles: torch.Tensor) -> torch.Tensor:
    """(N,) bool: splats whose rectangle meets a true tile.

    Args:
        means2d: (N, 2) pixels.
        radii: (N, 2) integer pixels; a splat with a radius that is not positive is not seen.
    """
    rows, columns = tiles.shape
    left, top, right, bottom = _rectangles(means2d, radii, (rows, columns))
    sums = functional.pad(tiles.long().cumsum(0).cumsum(1), (1, 0, 1, 0))
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return (inside > 0) & (radii > 0).all(dim=-1)


def reached(means2d: torch.Tensor, radii: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Bool tensor of the grid: tiles that the rectangle of at least one splat meets; arguments as in `reaching`."""
    rows, columns = grid
    left, top, right, bottom = _rectangles(means2d, radii, grid)
    seen = (radii > 0).all(dim=-1).int()
    width = columns + 1
    # A rectangle is +1 and -1 at its corners; the sums over rows and columns fill it.
    corners = torch.cat([top * width + left, bottom * width + right, top * width + right, bottom * width + left])
    signs = torch.cat([seen, seen, -seen, -seen])
    changes = torch.zeros((rows + 1) * width, dtype=torch.int32, device=means2d.device)
    changes.index_add_(0, corners, signs)
    return changes.view(rows + 1, width).cumsum(0).cumsum(1)[:rows, :columns] > 0


def _rectangles(means2d: torch.Tensor, radii: torch.Tensor, grid: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    """First column and row, and the ones after the last, (N,) each, of the tiles under each splat's rectangle."""
    # Undefined where a splat is not seen, which nothing may index with.
    centre = means2d.nan_to_num(0.0, 0.0, 0.0)
    low = ((centre - radii) / TILE).floor()
    high = ((centre + radii) / TILE).ceil()
    (left, top), (right, bottom) = low.unbind(-1), high.unbind(-1)
    rows, columns = grid
    limits = (columns, rows, columns, rows)
    return tuple(edge.clamp(0, limit).long() for edge, limit in zip((left, top, right, bottom), limits, strict=True))
