"""The plain fitting loop in torch, with any renderer: the reference for the compiled CPU loop and for the GPU's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.gaussians.objective import OptimisationSettings, Progress, View
from scenewright_stages.vision.gaussians.rendering import Renderer, Rendering
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.torch_fitting import Descent, Judged, Target, descend, rows_of, with_rows


def fit(
    scene: GaussianScene,
    views: Sequence[View],
    settings: OptimisationSettings,
    sequence: NDArray[np.int64],
    renderer: Renderer,
    rows: NDArray[np.int64],
    on_progress: Progress | None,
    seed: int = 0,
) -> tuple[GaussianScene, NDArray[np.float32]]:
    """See `optimisation.optimise`; every picture is drawn whole, by any renderer."""
    targets = [Target.of(view, settings, renderer.device) for view in views]
    descent = Descent(rows_of(scene, rows), settings, seed)

    def step(view: int) -> torch.Tensor:
        rendering = renderer.render(with_rows(scene, rows, descent.gaussians), [targets[view].camera])
        found = targets[view].loss(rendering)
        backpropagate(rendering, found)
        descent.step()
        return found.loss

    losses = descend(descent, step, sequence, on_progress)
    return with_rows(scene, rows, descent.gaussians).detach().clone(), losses


def backpropagate(rendering: Rendering, found: Judged) -> None:
    """Gives the leaves behind a rendering their gradients."""
    pairs = [(rendering.rgb, found.by_rgb), (rendering.alpha, found.by_alpha), (rendering.depth, found.by_depth)]
    drawn, gradients = zip(*((drawn, by) for drawn, by in pairs if by is not None), strict=True)
    if any(tensor.requires_grad for tensor in drawn):
        torch.autograd.backward(drawn, gradients)
