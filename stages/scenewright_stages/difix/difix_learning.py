"""Fine-tunes SD-Turbo to repair renders: whole images with their references, float32 weights, bfloat16 arithmetic.

Weights stay in float32 because updates this small vanish in bfloat16. Images in a batch may differ in size, so they
are processed one by one and their gradients accumulate. All randomness of an image is derived from the step and its
position in the batch, so results do not depend on which process handles it.

The encoder is frozen, so a reference's latents are computed once and kept. A render's are not: the decoder also needs
the activations between the encoder's blocks, 220 MB an image at 576x1024 against 74 kB of latents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.backends.fix.difix import run_difix, save_checkpoint, upstream_checkpoint, views_of
from scenewright_stages.backends.fix.difix_network import DifixNetwork, padded
from scenewright_stages.backends.fix.interface import FlawedView
from scenewright_stages.backends.perception.interface import Perception
from scenewright_stages.backends.runtime.acceleration import INDUCTOR
from scenewright_stages.difix.fixer_params import DifixLossParams, FixerParams
from scenewright_stages.difix.learning import CHECKPOINT, Learner
from scenewright_stages.difix.pairs_data import PairFiles, load_pair, load_reference
from scenewright_stages.difix.team import Team
from scenewright_stages.vision.types import Float32Array

_LATENTS_LIMIT = 1 << 28
"""Bytes of kept latents, for some 1,800 references and their mirror images at 576x1024."""

ReferenceKey = tuple[Path, bool, tuple[int, ...]]
"""A reference's file, whether it is mirrored, and the size that it gets."""


@dataclass(frozen=True, eq=False)
class _Example:
    """A training example.

    Attributes:
        render: (1, 1, 3, H', W') padded.
        truth: (1, 3, H, W) the photograph.
        corner: position of the crop for the texture loss, (2,) in [0, 1).
        key: of the reference; None without one.
        reference: (1, 1, 3, H', W') padded; None without one, and if its latents are kept.
        counted: (1, 1, H, W) bool, pixels of the photograph that count; None if all do.
    """

    render: torch.Tensor
    truth: torch.Tensor
    corner: NDArray[np.float64]
    key: ReferenceKey | None
    reference: torch.Tensor | None
    counted: torch.Tensor | None = None


class KeptLatents:
    """Latents of references by their key, on the device. What comes first is kept, and nothing once they are full.

    Args:
        limit: bytes at most.
    """

    def __init__(self, limit: int = _LATENTS_LIMIT) -> None:
        self._limit, self._held = limit, 0
        self._latents: dict[ReferenceKey, torch.Tensor] = {}

    def __contains__(self, key: ReferenceKey) -> bool:
        return key in self._latents

    def __getitem__(self, key: ReferenceKey) -> torch.Tensor:
        return self._latents[key]

    def keep(self, key: ReferenceKey, latents: torch.Tensor) -> None:
        """Keeps them while there is room."""
        if key not in self._latents and self._held + latents.nbytes <= self._limit:
            self._latents[key] = latents
            self._held += latents.nbytes


class DifixLearner(Learner[DifixNetwork]):
    """Fine-tunes the U-Net and the decoder's skip connections and adapters.

    Args:
        network: the base network.
        facts: metadata for checkpoints: the base, and its licence, which they inherit.
        perception: VGG-16 features for the loss; required unless the loss is l2 only.
        team: the processes that train together.

    Attributes:
        references: latents that the encoder need not compute again.
    """

    def __init__(
        self,
        network: DifixNetwork,
        params: FixerParams,
        seed: int,
        facts: Mapping[str, Any],
        perception: Perception | None = None,
        team: Team | None = None,
    ) -> None:
        super().__init__(network, params, seed, team)
        if params.needs_perception and perception is None:
            raise ValueError("the loss compares pictures by a perception network, which is not given")
        self._facts, self._perception = dict(facts), perception
        self.references = KeptLatents()
        self._loading = ThreadPoolExecutor(1, "pairs")
        self._preloaded: dict[int, Future[list[_Example]]] = {}

    def gradients(self, pairs: Sequence[PairFiles], number: int) -> torch.Tensor:
        """See ``Learner.gradients``; the texture loss starts at a later step."""
        self._optimiser.zero_grad()
        examples = self._preloaded.pop(number, None) or self._loading.submit(self._examples, pairs, number)
        # Load the next step's images on the host while the device works on these.
        self._preloaded = {number + 1: self._loading.submit(self._examples, pairs, number + 1)}
        total = torch.zeros((), device=self.network.prompt.device)
        for example in examples.result():
            loss = self._loss(example, number) / self.params.batch
            torch.autograd.backward(loss)
            total += loss.detach()
        return total

    def compile(self, cache_dir: Path | None, backend: str = INDUCTOR) -> None:
        """Compiles the trained network, but not its rarely used mean; see ``compile_network``."""
        self.network.compile_parts(cache_dir, backend)

    def fix(self, pair: PairFiles) -> Float32Array:
        """See ``Learner.fix``."""
        return run_difix(self.mean, self._seen(pair))

    def write_checkpoint(self, folder: Path, step: int) -> None:
        """See ``Learner.write_checkpoint``; the pickle has upstream's keys."""
        name = CHECKPOINT.format(step=step)
        save_checkpoint(folder / f"{name}.safetensors", self.mean, {**self._facts, "backend": "difix", "step": step})
        state, moments = self._optimiser.state, {}
        if self.params.difix.keep_optimiser:
            moments = {each: state[value] for each, value in self.network.named_parameters() if value in state}
        torch.save(upstream_checkpoint(self.mean, self.params.learning_rate, moments), folder / f"{name}.pkl")

    def _examples(self, pairs: Sequence[PairFiles], number: int) -> list[_Example]:
        """This process's share of a step's batch, in host memory, pinned for CUDA."""
        batch, random = self.params.batch, self.random(number)
        chosen, flips = random.integers(len(pairs), size=batch), random.integers(2, size=batch)
        corners = random.random((batch, 2))
        found = []
        for place in self.team.share(batch):
            files, flipped = pairs[chosen[place]], bool(flips[place])
            pair = load_pair(files)
            view, target, counted = pair.view, pair.target, pair.counted
            key = None
            if self.params.use_reference and files.reference is not None:
                key = files.reference, flipped, view.srgb.shape[:2]
            if key is not None and key not in self.references:
                view = self._seen(files)
            if flipped:
                view, target = _flipped(view), target[:, ::-1]
                counted = None if counted is None else counted[:, ::-1]
            views = padded(views_of(view)[None], self.network.multiple())
            truth = torch.from_numpy(target.transpose(2, 0, 1).copy())[None]
            if self.network.prompt.is_cuda:
                views, truth = views.pin_memory(), truth.pin_memory()
            found.append(
                _Example(
                    views[:, :1],
                    truth,
                    corners[place],
                    key,
                    views[:, 1:] if views.shape[1] > 1 else None,
                    None if counted is None else torch.from_numpy(counted.copy())[None, None],
                )
            )
        return found

    def _loss(self, example: _Example, number: int) -> torch.Tensor:
        """The loss over the render only, because the reference needs no repair."""
        device = self.network.prompt.device
        render, truth = (each.to(device, non_blocking=True) for each in (example.render, example.truth))
        height, width = truth.shape[-2:]
        with torch.autocast(device.type, torch.bfloat16):
            fixed = self.network(render, self._latents(example))
        losses = self.params.difix.losses
        textures = number > losses.gram_after
        picture = fixed[..., :height, :width].float()
        if example.counted is not None:
            picture = torch.where(example.counted.to(device), picture, truth)
        return difix_loss(picture, truth, losses, self._perception, textures, example.corner)

    def _latents(self, example: _Example) -> torch.Tensor | None:
        """The reference's, computed at most once while there is room for them."""
        if example.key is None:
            return None
        # Its picture came along where they were not kept yet when the example was read.
        if example.key in self.references or example.reference is None:
            return self.references[example.key]
        latents = self.network.latents_of(example.reference.to(self.network.prompt.device, non_blocking=True))
        self.references.keep(example.key, latents)
        return latents

    def _seen(self, pair: PairFiles) -> FlawedView:
        view = load_pair(pair).view
        if self.params.use_reference and pair.reference is not None:
            return replace(view, reference=load_reference(pair.reference))
        return view


def difix_loss(
    fixed: torch.Tensor,
    truth: torch.Tensor,
    weights: DifixLossParams,
    perception: Perception | None,
    textures: bool,
    corner: NDArray[np.float64],
) -> torch.Tensor:
    """The weighted loss of (1, 3, H, W) images in [0, 1].

    Args:
        fixed, truth: the images.
        weights: of the terms.
        perception: VGG-16 features, if the weights need them.
        textures: whether to include the Gram loss.
        corner: position of its crop, (2,) in [0, 1): down and across.
    """
    # DiFix's images are in [-1, 1], where differences are twice as large.
    total = weights.l2 * 4 * (fixed - truth).square().mean()
    if weights.lpips and perception is not None:
        total = total + weights.lpips * perception.distance(fixed, truth).mean()
    if weights.gram and textures and perception is not None:
        both = (cropped(each, weights.gram_crop, corner) for each in (fixed, truth))
        total = total + weights.gram * perception.texture_distance(*both).mean()
    return total


def cropped(pictures: torch.Tensor, side: int, corner: NDArray[np.float64]) -> torch.Tensor:
    """A square crop of the images, smaller if the images are."""
    height, width = pictures.shape[-2:]
    top, left = (
        int(share * (max(0, length - side) + 1)) for share, length in zip(corner, (height, width), strict=True)
    )
    return pictures[..., top : top + side, left : left + side]


def _flipped(view: FlawedView) -> FlawedView:
    """The view and its reference, both mirrored."""
    reference = None if view.reference is None else view.reference[:, ::-1].copy()
    return replace(view, srgb=view.srgb[:, ::-1].copy(), reference=reference)
