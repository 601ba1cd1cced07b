"""The CPU renderer: calls the compiled kernels from NumPy, and wraps them for torch autograd.

An image consists of *moving* splats, which need gradients, and *still* splats, which are only drawn. `CpuRenderer`
treats all splats as moving; `cpu_fitting` drives the steps itself and caches the still splats.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from scenewright_stages.vision.gaussians.kernels import (
    binning,
    projection,
    projection_gradient,
    raster,
    raster_gradient,
)
from scenewright_stages.vision.gaussians.kernels.layout import (
    DEPTH,
    SLOT_COLUMNS,
    SPLAT_COLUMNS,
    Array,
    SceneArrays,
    Viewpoint,
)
from scenewright_stages.vision.gaussians.rendering import ALPHA_FLOOR, Rendering, image_size
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.geometry.cameras import Camera


@dataclass(frozen=True)
class Splats:
    """A scene's projected splats in depth order, with tile lists, for one camera.

    Attributes:
        rows: (M, SPLAT_COLUMNS), see `kernels.layout`.
        ids: (M,) int32 row of each splat in the projected scene.
        order_ids: (M,) int32 row in the whole scene: breaks ties in depth.
        pair_offsets: (M + 1,) int64, the (tile, splat) pairs of each splat.
        pair_splats: (P,) int32.
        tile_pairs: (P,) int32 pairs grouped by tile; tile_offsets: (T + 1,) int64.
    """

    rows: Array
    ids: Array
    order_ids: Array
    pair_offsets: Array
    pair_splats: Array
    tile_pairs: Array
    tile_offsets: Array

    @property
    def tiles(self) -> Array:
        """(A,) int64 indices of the tiles that hold at least one splat, ascending."""
        return np.flatnonzero(np.diff(self.tile_offsets))


@dataclass(frozen=True)
class Canvas:
    """Accumulated image over black: colour (H, W, 3), depth_sum, transmittance (H, W), last_position."""

    colour: Array
    depth_sum: Array
    transmittance: Array
    last_position: Array

    @classmethod
    def empty(cls, width: int, height: int, dtype: Any) -> Canvas:
        return cls(
            np.zeros((height, width, 3), dtype),
            np.zeros((height, width), dtype),
            np.ones((height, width), dtype),
            np.zeros((height, width), np.int32),
        )


@dataclass(frozen=True)
class TileLists:
    """Merged depth-sorted entries of the named tiles (see `binning.merge_tiles`)."""

    tiles: Array
    offsets: Array
    entries: Array


def project_scene(scene: SceneArrays, viewpoint: Viewpoint, order_ids: Array | None = None) -> Splats:
    """Project, cull, sort by depth and list by tile.

    order_ids (N,) int32 are the rows' indices in the whole scene when scene is a part of it.
    """
    rows = np.empty((scene.size, SPLAT_COLUMNS), scene.means.dtype)
    visible = np.empty(scene.size, np.bool_)
    projection.project(scene, viewpoint, rows, visible)
    ids = _by_depth(rows, binning.visible_ids(visible))
    return _listed(binning.gather_rows(rows, ids), ids, ids if order_ids is None else order_ids[ids], viewpoint)


def empty_splats(viewpoint: Viewpoint, dtype: Any) -> Splats:
    """The empty set."""
    ids = np.empty(0, np.int32)
    return _listed(np.empty((0, SPLAT_COLUMNS), dtype), ids, ids, viewpoint)


def merge(moving: Splats, still: Splats, tiles: Array) -> TileLists:
    """Depth-sorted lists of the given tiles."""
    lengths = np.diff(still.tile_offsets)[tiles] + np.diff(moving.tile_offsets)[tiles]
    offsets = binning.running_offsets(lengths)
    entries = binning.merge_tiles(
        tiles,
        offsets,
        still.tile_pairs,
        still.pair_splats,
        still.tile_offsets,
        still.rows,
        still.order_ids,
        moving.tile_pairs,
        moving.pair_splats,
        moving.tile_offsets,
        moving.rows,
        moving.order_ids,
    )
    return TileLists(tiles, offsets, entries)


def draw(lists: TileLists, moving: Splats, still: Splats, canvas: Canvas) -> None:
    """Composites the listed tiles into the canvas, overwriting them."""
    raster.rasterise(
        lists.tiles,
        lists.offsets,
        lists.entries,
        still.rows,
        moving.rows,
        moving.pair_splats,
        canvas.colour,
        canvas.depth_sum,
        canvas.transmittance,
        canvas.last_position,
    )


def draw_backward(
    lists: TileLists,
    moving: Splats,
    still: Splats,
    canvas: Canvas,
    d_colour: Array,
    d_depth_sum: Array,
    d_transmittance: Array,
) -> Array:
    """Gradient slots (P, SLOT_COLUMNS) of the moving splats; all their tiles must be listed."""
    slots = np.empty((len(moving.pair_splats), SLOT_COLUMNS), moving.rows.dtype)
    raster_gradient.rasterise_backward(
        lists.tiles,
        lists.offsets,
        lists.entries,
        still.rows,
        moving.rows,
        moving.pair_splats,
        canvas.transmittance,
        canvas.last_position,
        d_colour,
        d_depth_sum,
        d_transmittance,
        slots,
    )
    return slots


def project_backward(
    scene: SceneArrays, viewpoint: Viewpoint, splats: Splats, slots: Array, gradient: SceneArrays
) -> None:
    """Writes the gradient rows of the Gaussians in `splats`; leaves other rows unchanged."""
    projection_gradient.backpropagate(scene, viewpoint, splats.rows, splats.ids, slots, splats.pair_offsets, gradient)


def _by_depth(rows: Array, ids: Array) -> Array:
    depths = np.ascontiguousarray(rows[ids, DEPTH])
    # The bit patterns of positive floats sort like the floats.
    bits = 32 if depths.dtype == np.float32 else 64
    keys = depths.view(np.uint32 if bits == 32 else np.uint64).astype(np.uint64)
    return np.asarray(binning.sorted_by_key(keys, ids, bits))


def _listed(rows: Array, ids: Array, order_ids: Array, viewpoint: Viewpoint) -> Splats:
    columns, tile_rows = viewpoint.tile_grid
    pair_offsets = binning.running_offsets(binning.count_tiles(rows, columns, tile_rows))
    pair_tiles, pair_splats = binning.list_pairs(rows, pair_offsets, columns, tile_rows)
    tile_pairs, tile_offsets = binning.list_by_tile(pair_tiles, columns * tile_rows)
    return Splats(rows, ids, order_ids, pair_offsets, pair_splats, tile_pairs, tile_offsets)


class CpuRenderer:
    """Renders with compiled kernels; matches gsplat within rounding (see `kernels.layout`).

    Results are bit-identical for any number of threads.
    """

    name = "cpu"
    device = torch.device("cpu")

    def render(
        self, scene: GaussianScene, cameras: Sequence[Camera], background: torch.Tensor | None = None
    ) -> Rendering:
        """See `Renderer.render`; scene on the CPU, float32 or float64."""
        image_size(cameras)
        frames = [self._render_one(scene, camera, background) for camera in cameras]
        rgb, depth, alpha = (torch.stack(part) for part in zip(*frames, strict=True))
        return Rendering(rgb, depth, alpha)

    @staticmethod
    def _render_one(
        scene: GaussianScene, camera: Camera, background: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        colour, depth_sum, transmittance = _Splatting.apply(camera, *scene.tensors.values())
        alpha = 1 - transmittance
        depth = torch.where(alpha > 0, depth_sum / alpha.clamp(min=ALPHA_FLOOR), torch.zeros_like(alpha))
        if background is not None:
            colour = colour + transmittance[..., None] * background.detach().to(colour)
        return colour, depth, alpha


class _Splatting(torch.autograd.Function):
    """(camera, five scene tensors) -> colour (H, W, 3) over black, depth sum, transmittance (H, W)."""

    @staticmethod
    def forward(ctx: Any, camera: Camera, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        scene = scene_arrays(tensors)
        viewpoint = Viewpoint.of(camera, scene.means.dtype)
        canvas = Canvas.empty(viewpoint.width, viewpoint.height, scene.means.dtype)
        moving = project_scene(scene, viewpoint)
        still = empty_splats(viewpoint, scene.means.dtype)
        lists = merge(moving, still, moving.tiles)
        draw(lists, moving, still, canvas)
        ctx.state = (scene, viewpoint, canvas, moving, still, lists)
        # The canvas keeps its own transmittance, because backward starts from it.
        pictures = (canvas.colour, canvas.depth_sum, canvas.transmittance.copy())
        return tuple(torch.from_numpy(picture) for picture in pictures)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        scene, viewpoint, canvas, moving, still, lists = ctx.state
        dtype = scene.means.dtype
        pixels = [np.ascontiguousarray(gradient.numpy(), dtype) for gradient in gradients]
        slots = draw_backward(lists, moving, still, canvas, *pixels)
        gradient = scene.zeros()
        project_backward(scene, viewpoint, moving, slots, gradient)
        return (None, *(torch.from_numpy(group) for group in gradient))


def scene_arrays(tensors: Sequence[torch.Tensor]) -> SceneArrays:
    """Views of (or contiguous copies from) the five scene tensors."""
    return SceneArrays(*(np.ascontiguousarray(tensor.detach().numpy()) for tensor in tensors))
