"""SD-Turbo learns to repair renders: whole pictures with their references, float32 weights, bfloat16 arithmetic.

Weights stay in float32 because steps of this size vanish in bfloat16. A batch's pictures may differ in size: they go
through one after the other, and their gradients add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from scenewright_stages.backends.capability import FloatImage
from scenewright_stages.backends.fix.difix import run_difix, save_checkpoint, upstream_checkpoint, views_of
from scenewright_stages.backends.fix.difix_network import DifixNetwork, padded
from scenewright_stages.backends.fix.interface import FlawedView
from scenewright_stages.difix.fixer_params import FixerParams
from scenewright_stages.difix.learning import CHECKPOINT, Learner, loss_of
from scenewright_stages.difix.pairs_data import PairFiles, load_pair, load_reference


class DifixLearner(Learner[DifixNetwork]):
    """Tunes the U-Net, and the decoder's skips and adapters.

    Args:
        network: as the base gives it.
        licence: of the base, which the checkpoints inherit.
    """

    def __init__(self, network: DifixNetwork, params: FixerParams, seed: int, licence: str) -> None:
        super().__init__(network, params, seed)
        self._licence = licence

    def gradients(self, pairs: Sequence[PairFiles], random: np.random.Generator) -> float:
        """See ``Learner.gradients``."""
        self._optimiser.zero_grad()
        total = 0.0
        for number in random.integers(len(pairs), size=self.params.batch):
            pair = load_pair(pairs[number])
            view, target = self._seen(pairs[number]), pair.target
            if random.integers(2):
                view, target = _flipped(view), target[:, ::-1].copy()
            loss = self._loss(view, target) / self.params.batch
            torch.autograd.backward(loss)
            total += float(loss.detach())
        return total

    def fix(self, pair: PairFiles) -> FloatImage:
        """See ``Learner.fix``."""
        return run_difix(self.mean, self._seen(pair))

    def write_checkpoint(self, folder: Path, step: int) -> None:
        """See ``Learner.write_checkpoint``; the pickle has upstream's keys."""
        name = CHECKPOINT.format(step=step)
        facts = {"backend": "difix", "step": step, "licence": self._licence}
        save_checkpoint(folder / f"{name}.safetensors", self.mean, facts)
        torch.save(upstream_checkpoint(self.mean, self.params.learning_rate), folder / f"{name}.pkl")

    def _loss(self, view: FlawedView, target: FloatImage) -> torch.Tensor:
        """Over the render alone: the reference is right already."""
        device = self.network.prompt.device
        height, width = target.shape[:2]
        views = padded(views_of(view)[None].to(device), self.network.multiple())
        with torch.autocast(device.type, torch.bfloat16):
            fixed = self.network(views)
        truth = torch.from_numpy(target.transpose(2, 0, 1).copy())[None].to(device)
        return loss_of(fixed[..., :height, :width].float(), truth, self.params.losses)

    def _seen(self, pair: PairFiles) -> FlawedView:
        view = load_pair(pair).view
        if self.params.use_reference and pair.reference is not None:
            return replace(view, reference=load_reference(pair.reference))
        return view


def _flipped(view: FlawedView) -> FlawedView:
    """The view and its reference mirrored: what they have in common stays."""
    reference = None if view.reference is None else view.reference[:, ::-1].copy()
    return replace(view, srgb=view.srgb[:, ::-1].copy(), reference=reference)
