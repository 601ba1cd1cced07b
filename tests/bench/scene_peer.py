"""The loop of gsplat 1.5's ``examples/simple_trainer.py mcmc``, beside which ``scene_training.py`` measures ours.

It has its defaults: pictures in GPU memory and fused Adam. SSIM is one compiled function.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.gaussians.renderers import renderer_for
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.start import Start, scene_extent
from scenewright_stages.vision.geometry.cameras import Camera


class CpuStandIn:
    """What the loop calls of gsplat, for a machine without a GPU."""

    def rasterization(
        self, means: Tensor, quats: Tensor, scales: Tensor, opacities: Tensor, harmonics: Tensor,
        view: Tensor, lens: Tensor, width: int, height: int, sh_degree: int, **_: Any,
    ) -> tuple[Tensor, Tensor, dict[str, Any]]:  # fmt: skip
        """Pictures (1, H, W, 3) and alpha."""
        camera = Camera(lens[0].double().numpy(), width, height, view[0].double().numpy())
        coefficients = harmonics[:, : (sh_degree + 1) ** 2].contiguous()
        scene = GaussianScene(means, scales.log(), quats, torch.logit(opacities), coefficients)
        rendering = renderer_for("cpu").render(scene, [camera])
        return rendering.rgb, rendering.alpha[..., None], {}

    def MCMCStrategy(self, **_: Any) -> Any:  # noqa: N802
        """Changes nothing."""
        return SimpleNamespace(initialize_state=dict, step_post_backward=lambda *_, **__: None)


class Peer:
    """gsplat's example trainer with ``mcmc`` and its defaults.

    Args:
        start: points.
        views: photographs on the device.
        steps: in all.
        maximum: Gaussians at most.
        device: ``cpu`` draws by the product's kernels and never grows, to try the loop.
    """

    def __init__(self, start: Start, views: Sequence[View], steps: int, maximum: int, device: str) -> None:
        self._gsplat: Any = CpuStandIn() if device == "cpu" else importlib.import_module("gsplat")
        self._views, self._steps = views, steps
        self._scale = scene_extent([view.camera for view in views])
        scene = start.scene(opacity=0.5)
        harmonics = torch.zeros(len(scene), 16, 3)
        harmonics[:, :1] = scene.spherical_harmonics[:, :1]
        # The trainer begins with a tenth of the distance to the neighbours.
        values = {
            "means": (scene.means, 1.6e-4 * self._scale),
            "scales": (scene.log_scales + math.log(0.1), 5e-3),
            "quats": (torch.rand(len(scene), 4), 1e-3),
            "opacities": (scene.opacity_logits, 5e-2),
            "sh0": (harmonics[:, :1], 2.5e-3),
            "shN": (harmonics[:, 1:], 2.5e-3 / 20),
        }
        self.splats = torch.nn.ParameterDict(
            {name: torch.nn.Parameter(value.contiguous().to(device)) for name, (value, _) in values.items()}
        )
        self._optimisers = {
            name: torch.optim.Adam([self.splats[name]], lr=rate, eps=1e-15, fused=True)
            for name, (_, rate) in values.items()
        }
        self._schedule = torch.optim.lr_scheduler.ExponentialLR(self._optimisers["means"], 0.01 ** (1 / steps))
        # Growth ends at the same share of the training when it is shorter.
        self._strategy = self._gsplat.MCMCStrategy(cap_max=maximum, refine_stop_iter=int(steps * 25 / 30))
        self._state = self._strategy.initialize_state()
        self._loss = _l1_and_ssim if device == "cpu" else torch.compile(_l1_and_ssim)
        self._poses = [
            tuple(
                torch.from_numpy(matrix.astype(np.float32)).to(device)[None]
                for matrix in (view.camera.camera_from_world, view.camera.intrinsics)
            )
            for view in views
        ]
        self._order = np.random.default_rng(11)
        self._epoch: list[int] = []

    def step(self, number: int) -> None:
        """One step, from 0."""
        if not self._epoch:
            self._epoch = self._order.permutation(len(self._views)).tolist()
        chosen = self._epoch.pop()
        camera, (view, lens) = self._views[chosen].camera, self._poses[chosen]
        splats = self.splats
        pictures, _, info = self._gsplat.rasterization(
            splats["means"], splats["quats"], torch.exp(splats["scales"]), torch.sigmoid(splats["opacities"]),
            torch.cat([splats["sh0"], splats["shN"]], 1), view, lens, camera.width, camera.height,
            sh_degree=min(number // 1000, 3), near_plane=0.01, far_plane=1e10, packed=False,
        )  # fmt: skip
        loss = self._loss(pictures, self._views[chosen].srgb[None])
        loss = loss + 0.01 * torch.sigmoid(splats["opacities"]).mean() + 0.01 * torch.exp(splats["scales"]).mean()
        loss.backward()
        for optimiser in self._optimisers.values():
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self._schedule.step()
        rate = self._schedule.get_last_lr()[0]
        self._strategy.step_post_backward(splats, self._optimisers, self._state, number, info, lr=rate)

    def warm_up(self) -> None:
        """Compiles the loss."""
        camera = self._views[0].camera
        picture = torch.rand(1, camera.height, camera.width, 3, device=self._views[0].srgb.device, requires_grad=True)
        for _ in range(2):
            self._loss(picture, self._views[0].srgb[None]).backward()

    def scene(self) -> GaussianScene:
        """As it is now."""
        held = {name: value.detach() for name, value in self.splats.items()}
        harmonics = torch.cat([held["sh0"], held["shN"]], 1)
        return GaussianScene(held["means"], held["scales"], held["quats"], held["opacities"], harmonics)


def _l1_and_ssim(pictures: Tensor, truth: Tensor) -> Tensor:
    """The trainer's loss, 0.8 L1 + 0.2 (1 - SSIM) with windows that lie inside the picture."""
    line = torch.exp(-((torch.arange(11, device=pictures.device) - 5.0) ** 2) / (2 * 1.5**2))
    line = (line / line.sum()).expand(15, 1, 1, 11)
    first, second = pictures.permute(0, 3, 1, 2), truth.permute(0, 3, 1, 2)
    moments = torch.cat([first, second, first * first, second * second, first * second], dim=1)
    moments = functional.conv2d(functional.conv2d(moments, line, groups=15), line.transpose(2, 3), groups=15)
    mean_x, mean_y, square_x, square_y, product = moments.chunk(5, dim=1)
    low, high = 0.01**2, 0.03**2
    both = (2 * mean_x * mean_y + low) * (2 * (product - mean_x * mean_y) + high)
    norm = (mean_x**2 + mean_y**2 + low) * (square_x - mean_x**2 + square_y - mean_y**2 + high)
    return 0.8 * (pictures - truth).abs().mean() + 0.2 * (1 - (both / norm).mean())
