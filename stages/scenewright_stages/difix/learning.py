"""The training loop of a fixer: crops, loss, AdamW, EMA of the weights, validation, and resumable state.

Every step seeds its own random generator, so the state holds only weights and optimiser moments. Equal data,
parameters and threads give equal bytes on the CPU, however often a run is interrupted.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from scenewright_stages.backends.fix.classic import run_network, save_checkpoint, tensors_of
from scenewright_stages.backends.fix.network import FixNetwork
from scenewright_stages.difix.fixer_params import FixerParams, LossParams
from scenewright_stages.difix.pairs_data import LoadedPair, PairFiles, load_pair
from scenewright_stages.difix.strategies import evenly_spaced
from scenewright_stages.difix.team import Team
from scenewright_stages.vision.imaging.metrics import array_psnr
from scenewright_stages.vision.types import Float32Array

_WARM_UP = 20
_CLIP = 1.0
_VALIDATED = 32
"""Pairs at most that choose the best checkpoint."""

CHECKPOINT = "model_{step}"
SCORE_DIGITS = 6
"""Decimals of a validation's PSNR, in memory and in ``loss.csv``: both name the same best checkpoint."""

NetworkT = TypeVar("NetworkT", bound=torch.nn.Module)
Planes = tuple[torch.Tensor, ...]
Row = tuple[int, float, float]
"""Step, loss, and the validation's PSNR or NaN."""


class Learner(ABC, Generic[NetworkT]):
    """A network in training; subclasses compute the gradients of a batch.

    Attributes:
        network: the network that the steps update.
        mean: the EMA of its weights, which checkpoints contain.
        rows: step, loss and, if measured, validation PSNR, rounded as in ``loss.csv``.
    """

    def __init__(self, network: NetworkT, params: FixerParams, seed: int, team: Team | None = None) -> None:
        self.network, self.params, self.seed, self.team = network, params, seed, team or Team()
        self.mean: NetworkT = deepcopy(network).requires_grad_(False)
        self.rows: list[Row] = []
        self._learning = [each for each in network.parameters() if each.requires_grad]
        self._optimiser = torch.optim.AdamW(
            self._learning,
            lr=params.learning_rate,
            weight_decay=params.weight_decay,
            fused=self.team.device.startswith("cuda"),
        )

    @abstractmethod
    def gradients(self, pairs: Sequence[PairFiles], number: int) -> torch.Tensor:
        """Draws a step's batch, sets the network's gradients for this process's share, and returns its loss.

        Loss and gradients of the whole batch are the sums over the team. The loss stays on the device.
        """

    @abstractmethod
    def fix(self, pair: PairFiles) -> Float32Array:
        """A pair's render, repaired with the EMA weights."""

    @abstractmethod
    def write_checkpoint(self, folder: Path, step: int) -> None:
        """Writes ``model_<step>.safetensors`` and ``.pkl`` with the EMA weights."""

    @property
    def best(self) -> tuple[int, float]:
        """Step and validation PSNR of the best checkpoint so far; step 0 before the first."""
        return best_checkpoint(self.rows)

    def step(self, number: int, pairs: Sequence[PairFiles]) -> float:
        """Takes step `number`, from 1, and returns its loss."""
        for group in self._optimiser.param_groups:
            group["lr"] = self.params.learning_rate * _rate(number, self.params.steps)
        own = self.gradients(pairs, number)
        self.team.add_up([each.grad for each in self._learning if each.grad is not None])
        torch.nn.utils.clip_grad_norm_(self._learning, _CLIP)
        self._optimiser.step()
        # Use a shorter window early on, or the EMA would still be the initial weights.
        keep = min(self.params.ema, number / (number + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.mean.parameters()), list(self.network.parameters()), 1 - keep)
        # Read the loss last, because that waits for the device.
        loss = self.team.total(float(own))
        self.rows.append((number, loss, math.nan))
        return loss

    def random(self, number: int) -> np.random.Generator:
        """The random generator of step `number`."""
        return np.random.default_rng([self.seed % 2**63, number])

    def validate(self, pairs: Sequence[PairFiles]) -> float:
        """Mean PSNR of the EMA weights over some of the pairs, recorded for the last step."""
        chosen = [(each, load_pair(each)) for each in evenly_spaced(pairs, _VALIDATED)]
        scores = [array_psnr(self.fix(files), pair.target, pair.counted) for files, pair in chosen]
        found = round(float(np.mean(scores)), SCORE_DIGITS)
        number, loss, _ = self.rows[-1]
        self.rows[-1] = (number, loss, found)
        return found

    def save(self, path: Path) -> None:
        """Writes everything that the next step depends on."""
        state = {
            "network": self.network.state_dict(),
            "mean": self.mean.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "rows": self.rows,
        }
        torch.save(state, path)

    def restore(self, path: Path) -> None:
        """The inverse of :meth:`save`."""
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
        self.network.load_state_dict(state["network"])
        self.mean.load_state_dict(state["mean"])
        self._optimiser.load_state_dict(state["optimiser"])
        # Compiled networks use another memory layout, and the fused optimiser needs moments in the weights' layout.
        for value, moments in self._optimiser.state.items():
            for name, moment in moments.items():
                if moment.shape == value.shape:
                    moments[name] = torch.empty_like(value).copy_(moment)
        self.rows = [(int(step), float(loss), float(value)) for step, loss, value in state["rows"]]


class ClassicLearner(Learner[FixNetwork]):
    """Trains the small network from scratch on crops."""

    def __init__(self, params: FixerParams, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = FixNetwork(params.use_reference)
        super().__init__(network, params, seed)

    def gradients(self, pairs: Sequence[PairFiles], number: int) -> torch.Tensor:
        """See ``Learner.gradients``."""
        *seen, target, counted = batch_of(pairs, self.params, self.random(number))
        fixed = torch.where(counted > 0, self.network(*seen), target)
        loss = loss_of(fixed, target, self.params.losses)
        self._optimiser.zero_grad()
        torch.autograd.backward(loss)
        return loss.detach()

    def fix(self, pair: PairFiles) -> Float32Array:
        """See ``Learner.fix``."""
        return run_network(self.mean, load_pair(pair).view)

    def write_checkpoint(self, folder: Path, step: int) -> None:
        """See ``Learner.write_checkpoint``; the pickle holds ``backend``, ``state_dict_fixer`` and ``step``."""
        name = CHECKPOINT.format(step=step)
        facts = {"backend": "classic", "step": step, "licence": ""}
        save_checkpoint(folder / f"{name}.safetensors", self.mean, facts)
        weights = {"backend": "classic", "state_dict_fixer": self.mean.state_dict(), "step": step}
        torch.save(weights, folder / f"{name}.pkl")


def best_checkpoint(rows: Sequence[Row]) -> tuple[int, float]:
    """Step and validation PSNR of the best checkpoint (the first if tied); step 0 if nothing was validated."""
    validated = [(step, score) for step, _, score in rows if not math.isnan(score)]
    return max(validated, key=lambda each: each[1], default=(0, -math.inf))


def batch_of(pairs: Sequence[PairFiles], params: FixerParams, random: np.random.Generator) -> Planes:
    """Render, coverage, warped reference, validity, photograph and its valid pixels of crops, each (B, C, h, w)."""
    crops = []
    for number in random.integers(len(pairs), size=params.batch):
        pair = load_pair(pairs[number])
        crops.append(_crop(pair, params.crop, random))
    smallest = tuple(min(crop[0].shape[axis] for crop in crops) for axis in (1, 2))
    return tuple(
        torch.stack([plane[:, : smallest[0], : smallest[1]] for plane in planes]) for planes in zip(*crops, strict=True)
    )


def loss_of(fixed: torch.Tensor, target: torch.Tensor, weights: LossParams) -> torch.Tensor:
    """The weighted loss of (B, 3, h, w) images."""
    difference = fixed - target
    total = weights.l1 * difference.abs().mean() + weights.l2 * difference.square().mean()
    if weights.gradient:
        total = total + weights.gradient * (difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean())
    return total


def _crop(pair: LoadedPair, side: int, random: np.random.Generator) -> Planes:
    target = torch.from_numpy(pair.target.transpose(2, 0, 1).copy())
    height, width = target.shape[1:]
    counted = torch.ones(1, height, width) if pair.counted is None else torch.from_numpy(pair.counted)[None].float()
    top = int(random.integers(max(1, height - side + 1)))
    left = int(random.integers(max(1, width - side + 1)))
    flipped = bool(random.integers(2))
    planes = (*tensors_of(pair.view), target, counted)
    cut = [plane[:, top : top + side, left : left + side] for plane in planes]
    return tuple(plane.flip(-1) if flipped else plane for plane in cut)


def _rate(step: int, steps: int) -> float:
    """Learning rate relative to its peak: a short linear warm-up, then cosine decay."""
    return min(1.0, step / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / (steps + 1))))
