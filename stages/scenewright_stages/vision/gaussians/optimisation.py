"""Fits Gaussian scenes to views: the entry point of all fits.

Stages call `optimise` with a scene, views and settings (see `objective`). The renderer determines the loop:
`cpu_fitting` drives compiled kernels without autograd, `gsplat_fitting` renders on a GPU. Both change only trainable
rows, and use the views in the same order.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.vision.gaussians.objective import OptimisationSettings, Progress, View
from scenewright_stages.vision.gaussians.rendering import Renderer
from scenewright_stages.vision.gaussians.scene import GaussianScene
from scenewright_stages.vision.gaussians.torch_fitting import Momentum


@dataclass(frozen=True, eq=False)
class OptimisationResult:
    """Attributes: the fitted scene (detached), the loss of every iteration (float32), wall-clock seconds."""

    scene: GaussianScene
    losses: NDArray[np.float32]
    seconds: float


def optimise(
    scene: GaussianScene,
    views: Sequence[View],
    settings: OptimisationSettings,
    seed: int,
    renderer: Renderer,
    trainable: slice | torch.Tensor | None = None,
    on_progress: Progress | None = None,
    momentum: Momentum | None = None,
) -> OptimisationResult:
    """Fits the scene to the views and returns a new scene.

    Every iteration draws one view by its share, with NumPy's PCG64 seeded by `seed`. On the CPU equal arguments give
    equal bytes for any number of threads.

    Args:
        scene: on the renderer's device.
        trainable: rows to change (slice, or bool (N,) or integer tensor); the others stay bit-identical.
        momentum: optimiser moments of an earlier fit of all rows, continued and updated in place. The CPU loop ignores
            it, because the state stored between two fits does not contain it.
        on_progress: called with (iterations done, iterations) about every tenth iteration and at the end.

    Raises:
        ValueError: there are no views, or scene and renderer are on different devices.
    """
    if not views:
        raise ValueError("at least one view is needed")
    if scene.device.type != renderer.device.type:
        raise ValueError(f"the scene is on {scene.device}, the renderer on {renderer.device}")
    started = time.perf_counter()
    rows = trainable_rows(len(scene), trainable)
    sequence = view_sequence(views, settings.iterations, seed)
    arguments = (scene.detach(), views, settings, sequence, renderer, rows, on_progress, seed)
    if renderer.name == "cpu":
        from scenewright_stages.vision.gaussians import cpu_fitting

        result, losses = cpu_fitting.fit(*arguments)
    else:
        from scenewright_stages.vision.gaussians import gsplat_fitting

        result, losses = gsplat_fitting.fit(*arguments, momentum)
    return OptimisationResult(result, losses, time.perf_counter() - started)


def view_sequence(views: Sequence[View], iterations: int, seed: int) -> NDArray[np.int64]:
    """Number of the view of each iteration, drawn by the views' shares."""
    random = np.random.default_rng(seed)
    shares = np.array([view.share for view in views])
    if (shares == shares[0]).all():
        return random.integers(len(views), size=iterations)
    return random.choice(len(views), size=iterations, p=shares / shares.sum())


def trainable_rows(count: int, trainable: slice | torch.Tensor | None) -> NDArray[np.int64]:
    """Ascending (M,) indices of the rows to change.

    Raises:
        ValueError: a bool tensor has the wrong length.
        IndexError: a row does not exist.
    """
    rows = np.arange(count)
    if trainable is None:
        return rows
    if isinstance(trainable, slice):
        return rows[trainable]
    index = trainable.detach().cpu().numpy()
    if index.dtype == np.bool_ and index.shape != (count,):
        raise ValueError(f"trainable has shape {index.shape}, expected {(count,)}")
    return np.unique(rows[index])
