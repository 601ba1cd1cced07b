"""gsplat's tile lists and rasteriser by their kernels, there and back.

The host waits for the length of the tile lists, and from then on the device waits for the host until the rasteriser is
launched. gsplat's public functions check and wrap for 0.1 ms in between, a twentieth of an iteration. The
kernels' arguments are those of gsplat 1.5.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import torch

from .kernels.layout import TILE


@dataclass(frozen=True)
class Splats:
    """Gaussians as one camera sees them, gsplat's layout with one image: (1, N, ...).

    radii int32 pixels, depths metres, means2d pixels, conics (xx, xy, yy), colours sRGB, opacities.
    """

    radii: torch.Tensor
    depths: torch.Tensor
    means2d: torch.Tensor
    conics: torch.Tensor
    colours: torch.Tensor
    opacities: torch.Tensor

    def select(self, rows: torch.Tensor) -> Splats:
        """Those of some rows, (M,) integers."""
        return Splats(*(tensor.index_select(1, rows) for tensor in vars(self).values()))

    def followed_by(self, other: Splats) -> Splats:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Splats(*(torch.cat(pair, dim=1) for pair in pairs))

    def contiguous(self) -> Splats:
        """As the kernels read them."""
        return Splats(*(tensor.contiguous() for tensor in vars(self).values()))

    @property
    def count(self) -> int:
        return self.radii.shape[1]


@dataclass(frozen=True)
class Painting:
    """What gsplat drew: values (1, H, W, 3 or 4) colour and depth sum, alpha (1, H, W, 1); undefined outside the tiles.

    Attributes:
        arguments: of the rasteriser.
        last: (1, H, W) int32, the last splat of each pixel.
    """

    values: torch.Tensor
    alpha: torch.Tensor
    arguments: tuple[Any, ...]
    last: torch.Tensor

    def gradients(self, by_values: torch.Tensor, by_alpha: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """By means2d, conics, colours and opacities, from those by values and alpha, which count inside tiles alone."""
        results = _kernels().rasterize_to_pixels_3dgs_bwd(
            *self.arguments, self.alpha, self.last, by_values.contiguous(), by_alpha.contiguous(), False
        )
        _, *gradients = results
        return tuple(gradients)


def paint(splats: Splats, width: int, height: int, tiles: torch.Tensor) -> Painting:
    """Draws some tiles of a picture.

    Args:
        tiles: (rows, columns) bool, see `tiles.tile_grid`.
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
