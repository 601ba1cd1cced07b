"""Calls gsplat 1.5's tile and rasterisation kernels directly, forward and backward, for a subset of tiles.

The host must wait for the length of the tile lists, and then the device idles until the rasteriser is launched. In
between, gsplat's public functions spend 0.1 ms on checks and wrappers, a twentieth of an iteration; calling the kernels
directly avoids that.

A tile is a square of TILE x TILE pixels. Grids are (rows, columns) of tiles; bool tensors of that shape select tiles.
As in gsplat 1.5, a splat reaches the tiles that the rectangle of its integer radii meets. The tile functions are plain
tensor arithmetic on any device and never synchronise.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from scenewright_stages.vision.gaussians.kernels.layout import TILE


@dataclass(frozen=True)
class Splats:
    """Projected Gaussians of one camera, in gsplat's layout with one image: (1, N, ...).

    radii int32 pixels, depths metres, means2d pixels, conics (xx, xy, yy), colours sRGB, opacities.
    """

    radii: torch.Tensor
    depths: torch.Tensor
    means2d: torch.Tensor
    conics: torch.Tensor
    colours: torch.Tensor
    opacities: torch.Tensor

    def select(self, rows: torch.Tensor) -> Splats:
        """The rows with these (M,) integer indices."""
        return Splats(*(tensor.index_select(1, rows) for tensor in vars(self).values()))

    def followed_by(self, other: Splats) -> Splats:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Splats(*(torch.cat(pair, dim=1) for pair in pairs))

    def contiguous(self) -> Splats:
        """Contiguous tensors, which the kernels need."""
        return Splats(*(tensor.contiguous() for tensor in vars(self).values()))

    @property
    def count(self) -> int:
        return self.radii.shape[1]


@dataclass(frozen=True)
class Painting:
    """gsplat's output, undefined outside the tiles: values (1, H, W, 3 or 4) colour and depth sum, alpha (1, H, W, 1).

    Attributes:
        arguments: of the rasteriser.
        last: (1, H, W) int32, the last splat of each pixel.
    """

    values: torch.Tensor
    alpha: torch.Tensor
    arguments: tuple[Any, ...]
    last: torch.Tensor

    def gradients(self, by_values: torch.Tensor, by_alpha: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Gradients by means2d, conics, colours and opacities, from those by values and alpha inside the tiles."""
        results = _kernels().rasterize_to_pixels_3dgs_bwd(
            *self.arguments, self.alpha, self.last, by_values.contiguous(), by_alpha.contiguous(), False
        )
        _, *gradients = results
        return tuple(gradients)


def paint(splats: Splats, width: int, height: int, tiles: torch.Tensor) -> Painting:
    """Draws some tiles of an image.

    Args:
        tiles: (rows, columns) bool, see `tile_grid`.
    """
    kernels, (rows, columns) = _kernels(), tiles.shape
    splats, masks = splats.contiguous(), tiles[None].contiguous()
    listed = (splats.means2d, splats.radii, splats.depths, None, None, 1, TILE, columns, rows, True, False)
    drawn = (splats.means2d, splats.conics, splats.colours, splats.opacities, None, masks, width, height, TILE)
    _, keys, pair_rows = kernels.intersect_tile(*listed)
    arguments = (*drawn, kernels.intersect_offset(keys, 1, columns, rows), pair_rows)
    values, alpha, last = kernels.rasterize_to_pixels_3dgs_fwd(*arguments)
    return Painting(values, alpha, arguments, last)


def _kernels() -> Any:
    return importlib.import_module("gsplat.cuda._backend")._C


def tile_grid(width: int, height: int) -> tuple[int, int]:
    """(rows, columns) of tiles that cover an image."""
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
    """(N,) bool: splats whose rectangle meets a selected tile.

    Args:
        means2d: (N, 2) pixels.
        radii: (N, 2) integer pixels; a splat with a non-positive radius is invisible.
    """
    rows, columns = tiles.shape
    left, top, right, bottom = _rectangles(means2d, radii, (rows, columns))
    sums = functional.pad(tiles.long().cumsum(0).cumsum(1), (1, 0, 1, 0))
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    return (inside > 0) & (radii > 0).all(dim=-1)


def reached(means2d: torch.Tensor, radii: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Bool grid of the tiles that the rectangle of at least one splat meets; arguments as in `reaching`."""
    rows, columns = grid
    left, top, right, bottom = _rectangles(means2d, radii, grid)
    seen = (radii > 0).all(dim=-1).int()
    width = columns + 1
    # Mark each rectangle's corners with +1 and -1; cumulative sums over rows and columns fill it.
    corners = torch.cat([top * width + left, bottom * width + right, top * width + right, bottom * width + left])
    signs = torch.cat([seen, seen, -seen, -seen])
    changes = torch.zeros((rows + 1) * width, dtype=torch.int32, device=means2d.device)
    changes.index_add_(0, corners, signs)
    return changes.view(rows + 1, width).cumsum(0).cumsum(1)[:rows, :columns] > 0


def _rectangles(means2d: torch.Tensor, radii: torch.Tensor, grid: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    """Tile range under each splat's rectangle: first column and row, and one past the last, (N,) each."""
    # Values of invisible splats are undefined and must not be used as indices.
    centre = means2d.nan_to_num(0.0, 0.0, 0.0)
    low = ((centre - radii) / TILE).floor()
    high = ((centre + radii) / TILE).ceil()
    (left, top), (right, bottom) = low.unbind(-1), high.unbind(-1)
    rows, columns = grid
    limits = (columns, rows, columns, rows)
    return tuple(edge.clamp(0, limit).long() for edge, limit in zip((left, top, right, bottom), limits, strict=True))
