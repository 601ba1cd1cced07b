"""The fitting loop with gsplat, which redraws only the tiles that trainable Gaussians can change.

Each view projects its frozen Gaussians once and keeps those that reach a supervised tile. An iteration projects the
trainable Gaussians, merges the lists, and rasterises only supervised tiles with at least one trainable Gaussian. All
other pixels come from the cached image of the frozen Gaussians, which is constant and has no gradient. The result
equals drawing everything, except that frozen Gaussians come first at exactly equal depth.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.cuda_graphs import PlainRunner, RoundTrip, Runner, TensorFunction, graph_runner
from scenewright_stages.vision.gaussians.gsplat_kernels import (
    Splats,
    paint,
    pixels_of,
    reached,
    reaching,
    tile_grid,
    tiles_holding,
)
from scenewright_stages.vision.gaussians.gsplat_renderer import camera_tensors
from scenewright_stages.vision.gaussians.kernels.harmonics import C0
from scenewright_stages.vision.gaussians.kernels.layout import COVARIANCE_BLUR, FAR_PLANE, NEAR_PLANE
from scenewright_stages.vision.gaussians.objective import OptimisationSettings, Progress, View
from scenewright_stages.vision.gaussians.rendering import ALPHA_FLOOR, Renderer, Rendering
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.torch_fitting import Descent, Momentum, Target, descend, rows_of, with_rows

_RECORDED_VISITS = 8
"""Recording a function takes as long as some calls of it."""


def fit(
    scene: GaussianScene,
    views: Sequence[View],
    settings: OptimisationSettings,
    sequence: NDArray[np.int64],
    renderer: Renderer,
    rows: NDArray[np.int64],
    on_progress: Progress | None,
    seed: int = 0,
    momentum: Momentum | None = None,
) -> tuple[GaussianScene, NDArray[np.float32]]:
    """See `optimisation.optimise`; sequence names the view of each iteration, rows what may change.

    The seed is for the noise on the means. A momentum covers all rows and is updated in place.
    """
    others = np.ones(len(scene), np.bool_)
    others[rows] = False
    frozen = scene.select(torch.from_numpy(others).to(scene.device))
    descent = Descent(rows_of(scene, rows), settings, seed, momentum)
    with graph_runner(renderer.device) as run:
        # Recording the loss would need one graph per view.
        judge = run if len(sequence) >= _RECORDED_VISITS * len(views) else PlainRunner()
        states = [ViewState(Target.of(view, settings, renderer.device), frozen, judge) for view in views]
        # Views of equal size share a projector, because the camera is an argument.
        moving = {
            projector: run.round_trip(projector.of(descent), descent.step)
            for projector in {state.projector for state in states}
        }

        def step(view: int) -> torch.Tensor:
            state = states[view]
            return state.step(moving[state.projector]) if len(rows) else state.untouched_loss()

        losses = descend(descent, step, sequence, on_progress)
    if momentum is not None:
        vars(momentum).update(vars(descent.momentum()))
    return with_rows(scene, rows, descent.gaussians).detach().clone(), losses


@dataclass(frozen=True)
class Projector:
    """Projects Gaussians to images of one size; with `with_depth`, depth is a fourth colour channel."""

    width: int
    height: int
    with_depth: bool

    def of(self, descent: Descent) -> TensorFunction:
        """(view, lens) -> tensors of the splats and the tiles they reach, from the Gaussians at call time."""

        def project(view: torch.Tensor, lens: torch.Tensor) -> tuple[torch.Tensor, ...]:
            splats = self.project(descent.gaussians, view, lens)
            tiles = reached(splats.means2d[0].detach(), splats.radii[0], tile_grid(self.width, self.height))
            return (*vars(splats).values(), tiles)

        return project

    def project(self, scene: GaussianScene, view: torch.Tensor, lens: torch.Tensor) -> Splats:
        """Projects for one camera: view (1, 4, 4) camera_from_world, lens (1, 3, 3) intrinsics."""
        gsplat: Any = importlib.import_module("gsplat")
        opacities = torch.sigmoid(scene.opacity_logits)
        radii, means2d, depths, conics, _ = gsplat.fully_fused_projection(
            scene.means,
            None,
            scene.quaternions,
            scene.log_scales.exp(),
            view,
            lens,
            self.width,
            self.height,
            eps2d=COVARIANCE_BLUR,
            near_plane=NEAR_PLANE,
            far_plane=FAR_PLANE,
            opacities=opacities,
        )
        colours = _colours(scene, view[0], radii)
        if self.with_depth:
            colours = torch.cat([colours, depths[..., None]], dim=-1)
        return Splats(radii, depths.detach(), means2d, conics, colours, opacities[None])


def _colours(scene: GaussianScene, view: torch.Tensor, radii: torch.Tensor) -> torch.Tensor:
    """(1, N, 3) colours, computed as in gsplat's `rasterization`."""
    if scene.harmonics_degree == 0:
        return (scene.spherical_harmonics[:, 0] * C0 + 0.5).clamp(min=0)[None]
    gsplat: Any = importlib.import_module("gsplat")
    # Camera position in the world: minus the transposed rotation times the translation.
    position = -(view[:3, :3] * view[:3, 3:]).sum(dim=0)
    coloured: torch.Tensor = gsplat.spherical_harmonics(
        scene.harmonics_degree, scene.means - position, scene.spherical_harmonics, (radii[0] > 0).all(dim=-1)
    )
    return (coloured + 0.5).clamp(min=0)[None]


class ViewState:
    """State of one view: the frozen splats, their image, and the tiles that an iteration must repaint.

    Args:
        target: the view.
        frozen: Gaussians that do not change.
        run: calls functions that always launch the same kernels.

    Attributes:
        projector: for the Gaussians painted on top.
    """

    def __init__(self, target: Target, frozen: GaussianScene, run: Runner) -> None:
        self._target, self._camera = target, target.camera
        self.projector = Projector(self._camera.width, self._camera.height, target.depth is not None)
        self._wanted = tiles_holding(target.supervised)
        self._numbers = camera_tensors((self._camera,), self._wanted.device)
        self._frozen, self._backdrop = self._prepare(frozen)
        self._run = run

    @torch.no_grad()
    def _prepare(self, frozen: GaussianScene) -> tuple[Splats | None, Rendering]:
        flat = torch.zeros(1, self._camera.height, self._camera.width, device=self._wanted.device)
        nothing = Rendering(flat[..., None].expand(-1, -1, -1, 3), flat, flat)
        if len(frozen) == 0:
            return None, nothing
        splats = self.projector.project(frozen, *self._numbers)
        # Index by row number: a bool mask would synchronise with the device once per tensor.
        splats = splats.select(torch.nonzero(reaching(splats.means2d[0], splats.radii[0], self._wanted))[:, 0])
        if splats.count == 0:
            return None, nothing
        painting = paint(splats, *self._size, self._wanted)
        return splats, self._over(painting.values, painting.alpha, self._wanted, nothing)

    @property
    def _size(self) -> tuple[int, int]:
        return self._camera.width, self._camera.height

    def untouched_loss(self) -> torch.Tensor:
        """The loss of the frozen Gaussians alone."""
        return self._target.loss(self._backdrop).loss

    def step(self, moving: RoundTrip) -> torch.Tensor:
        """Redraws what the moving Gaussians may have changed, computes the loss, backpropagates, and returns the loss.

        Args:
            moving: a round trip through this view's projector.
        """
        # Compute tiles before gsplat's lists, because after waiting for the lists' length the device is idle.
        *tensors, touched = moving.forward(*self._numbers)
        moved, tiles = Splats(*tensors), touched & self._wanted
        splats = moved if self._frozen is None else self._frozen.followed_by(moved)
        painting = paint(splats, *self._size, tiles)
        loss, by_values, by_alpha = self._run(self._judge, painting.values, painting.alpha, tiles)
        gradients = painting.gradients(by_values, by_alpha)
        moving.backward(*(gradient[:, splats.count - moved.count :] for gradient in gradients))
        return loss

    @torch.no_grad()
    def _judge(
        self, values: torch.Tensor, alpha: torch.Tensor, tiles: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The loss, and its gradients by values and alpha; gsplat ignores gradients outside the tiles."""
        found = self._target.loss(self._over(values, alpha, tiles, self._backdrop))
        by_values = found.by_rgb.contiguous()
        by_alpha = torch.zeros_like(alpha) if found.by_alpha is None else found.by_alpha[..., None].contiguous()
        if found.by_depth is not None:
            # Expected depth is the depth sum divided by alpha.
            solid = alpha[..., 0].clamp(min=ALPHA_FLOOR)
            by_sum = found.by_depth / solid
            by_values = torch.cat([by_values, by_sum[..., None]], dim=-1)
            by_alpha = by_alpha - (by_sum * values[..., 3] / solid * (alpha[..., 0] > ALPHA_FLOOR))[..., None]
        return found.loss, by_values, by_alpha

    def _over(self, values: torch.Tensor, alpha: torch.Tensor, tiles: torch.Tensor, backdrop: Rendering) -> Rendering:
        """The painting inside these tiles and the backdrop elsewhere; arguments as in `Painting`."""
        painted = pixels_of(tiles, *self._size)
        # Replace undefined values instead of multiplying them by zero: they may be NaN.
        rgb = torch.where(painted[..., None], values[..., :3], backdrop.rgb)
        covered = torch.where(painted, alpha[..., 0], backdrop.alpha)
        if not self.projector.with_depth:
            return Rendering(rgb, backdrop.depth, covered)
        expected = values[..., 3] / alpha[..., 0].clamp(min=ALPHA_FLOOR)
        return Rendering(rgb, torch.where(painted, expected, backdrop.depth), covered)
