"""The fitting loop with gsplat: only what trainable Gaussians can change is drawn.

In every view the frozen Gaussians are projected once, and only those that reach a supervised tile are kept. An
iteration projects the trainable ones, merges the lists, and rasterises those supervised tiles that hold at least one
trainable Gaussian. Everywhere else the picture of the frozen ones, drawn once, stands in: it does not change, and it
has no gradient. The result is that of drawing everything (Gaussians at exactly equal depth aside, which are drawn
frozen ones first).
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .gsplat_renderer import camera_tensors
from .kernels.harmonics import C0
from .kernels.layout import COVARIANCE_BLUR, FAR_PLANE, NEAR_PLANE, TILE
from .optimisation import OptimisationSettings, Progress, View
from .recording import Run, TensorFunction, recording, run_plainly
from .rendering import ALPHA_FLOOR, Renderer, Rendering
from .scene import GaussianScene
from .tiles import pixels_of, reached, reaching, tile_grid, tiles_holding
from .torch_fitting import Step, Target, descend


def fit(
    scene: GaussianScene,
    views: Sequence[View],
    settings: OptimisationSettings,
    sequence: NDArray[np.int64],
    renderer: Renderer,
    rows: NDArray[np.int64],
    on_progress: Progress | None,
) -> tuple[GaussianScene, NDArray[np.float32]]:
    """See `optimisation.optimise`; sequence names the view of each iteration, rows what may change."""
    others = np.ones(len(scene), np.bool_)
    others[rows] = False
    frozen = scene.select(torch.from_numpy(others).to(scene.device))
    with recording(renderer.device) as run:
        easels = [Easel(Target.of(view, settings, renderer.device), frozen, run) for view in views]
        return descend(scene, rows, lambda view, moving: easels[view].step(moving), settings, sequence, on_progress)


@lru_cache(maxsize=64)
def _marker(grid: tuple[int, int]) -> TensorFunction:
    """(means2d, radii) -> tiles reached; one function for all views of a size."""

    def mark(means2d: torch.Tensor, radii: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (reached(means2d, radii, grid),)

    return mark


@dataclass(frozen=True)
class _Splats:
    """Gaussians as one camera sees them, gsplat's layout with one image: (1, N, ...).

    radii int32 pixels, means2d pixels, depths metres, conics (xx, xy, yy), colours sRGB, opacities.
    """

    radii: torch.Tensor
    means2d: torch.Tensor
    depths: torch.Tensor
    conics: torch.Tensor
    colours: torch.Tensor
    opacities: torch.Tensor

    def select(self, index: torch.Tensor) -> _Splats:
        return _Splats(*(tensor[:, index] for tensor in vars(self).values()))

    def followed_by(self, other: _Splats) -> _Splats:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return _Splats(*(torch.cat(pair, dim=1) for pair in pairs))

    @property
    def count(self) -> int:
        return self.radii.shape[1]


@dataclass(frozen=True)
class _Drawn:
    """What gsplat drew: values (1, H, W, 3 or 4) colour and depth sum, alpha (1, H, W, 1), and in which tiles.

    Outside of them the values are undefined.
    """

    values: torch.Tensor
    alpha: torch.Tensor
    tiles: torch.Tensor


class Easel:
    """One view: the frozen splats, their picture, and what of it must be painted anew in an iteration.

    Args:
        target: the view.
        frozen: Gaussians that are in every picture.
        run: calls functions that always launch the same kernels.
    """

    def __init__(self, target: Target, frozen: GaussianScene, run: Run = run_plainly) -> None:
        self._gsplat: Any = importlib.import_module("gsplat")
        self._target, self._camera = target, target.camera
        self._with_depth = target.depth is not None
        self._grid = tile_grid(self._camera.width, self._camera.height)
        self._wanted = tiles_holding(target.supervised)
        self._frozen, self._backdrop = self._prepare(frozen)
        self._run = run

    @torch.no_grad()
    def _prepare(self, frozen: GaussianScene) -> tuple[_Splats | None, Rendering]:
        flat = torch.zeros(1, self._camera.height, self._camera.width, device=self._wanted.device)
        nothing = Rendering(flat[..., None].expand(-1, -1, -1, 3), flat, flat)
        if len(frozen) == 0:
            return None, nothing
        splats = self._project(frozen)
        splats = splats.select(reaching(splats.means2d[0], splats.radii[0], self._wanted))
        if splats.count == 0:
            return None, nothing
        return splats, self._over(self._draw(splats, self._wanted), nothing)

    def step(self, moving: GaussianScene) -> Step:
        """Draws what the moving Gaussians may have changed, and judges the whole picture."""
        if len(moving) == 0:
            return Step(self._target.loss(self._backdrop).loss, (), ())
        splats = self._project(moving)
        # Before gsplat's lists, for whose length the host waits: what follows them finds the device idle.
        (touched,) = self._run(_marker(self._grid), splats.means2d[0].detach(), splats.radii[0])
        tiles = touched & self._wanted
        drawn = self._draw(splats if self._frozen is None else self._frozen.followed_by(splats), tiles)
        loss, *gradients = self._run(self._judge, drawn.values.detach(), drawn.alpha.detach(), drawn.tiles)
        return Step(loss, (drawn.values, drawn.alpha), tuple(gradients))

    @torch.no_grad()
    def _judge(
        self, values: torch.Tensor, alpha: torch.Tensor, tiles: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The loss, and its gradients by values and alpha; gsplat itself ignores those outside of the tiles."""
        found = self._target.loss(self._over(_Drawn(values, alpha, tiles), self._backdrop))
        by_values = found.by_rgb.contiguous()
        by_alpha = torch.zeros_like(alpha) if found.by_alpha is None else found.by_alpha[..., None].contiguous()
        if found.by_depth is not None:
            # Expected depth is the sum over alpha.
            solid = alpha[..., 0].clamp(min=ALPHA_FLOOR)
            by_sum = found.by_depth / solid
            by_values = torch.cat([by_values, by_sum[..., None]], dim=-1)
            by_alpha = by_alpha - (by_sum * values[..., 3] / solid * (alpha[..., 0] > ALPHA_FLOOR))[..., None]
        return found.loss, by_values, by_alpha

    def _over(self, drawn: _Drawn, backdrop: Rendering) -> Rendering:
        painted = pixels_of(drawn.tiles, self._camera.width, self._camera.height)
        # What is undefined is replaced, never multiplied.
        rgb = torch.where(painted[..., None], drawn.values[..., :3], backdrop.rgb)
        alpha = torch.where(painted, drawn.alpha[..., 0], backdrop.alpha)
        if not self._with_depth:
            return Rendering(rgb, backdrop.depth, alpha)
        expected = drawn.values[..., 3] / drawn.alpha[..., 0].clamp(min=ALPHA_FLOOR)
        return Rendering(rgb, torch.where(painted, expected, backdrop.depth), alpha)

    def _project(self, scene: GaussianScene) -> _Splats:
        view, lens = camera_tensors((self._camera,), scene.device)
        opacities = torch.sigmoid(scene.opacity_logits)
        radii, means2d, depths, conics, _ = self._gsplat.fully_fused_projection(
            scene.means,
            None,
            scene.quaternions,
            scene.log_scales.exp(),
            view,
            lens,
            self._camera.width,
            self._camera.height,
            eps2d=COVARIANCE_BLUR,
            near_plane=NEAR_PLANE,
            far_plane=FAR_PLANE,
            opacities=opacities,
        )
        colours = self._colours(scene, radii)
        if self._with_depth:
            colours = torch.cat([colours, depths[..., None]], dim=-1)
        return _Splats(radii, means2d, depths, conics, colours, opacities[None])

    def _colours(self, scene: GaussianScene, radii: torch.Tensor) -> torch.Tensor:
        """(1, N, 3), as gsplat's own `rasterization` makes them."""
        if scene.harmonics_degree == 0:
            return (scene.spherical_harmonics[:, 0] * C0 + 0.5).clamp(min=0)[None]
        position = torch.as_tensor(self._camera.position, dtype=scene.means.dtype, device=scene.device)
        coloured: torch.Tensor = self._gsplat.spherical_harmonics(
            scene.harmonics_degree, scene.means - position, scene.spherical_harmonics, (radii[0] > 0).all(dim=-1)
        )
        return (coloured + 0.5).clamp(min=0)[None]

    def _draw(self, splats: _Splats, tiles: torch.Tensor) -> _Drawn:
        rows, columns = self._grid
        _, keys, pair_rows = self._gsplat.isect_tiles(splats.means2d, splats.radii, splats.depths, TILE, columns, rows)
        offsets = self._gsplat.isect_offset_encode(keys, 1, columns, rows)
        values, alpha = self._gsplat.rasterize_to_pixels(
            splats.means2d,
            splats.conics,
            splats.colours,
            splats.opacities,
            self._camera.width,
            self._camera.height,
            TILE,
            offsets,
            pair_rows,
            masks=tiles[None],
        )
        return _Drawn(values, alpha, tiles)
