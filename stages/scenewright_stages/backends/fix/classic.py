"""The classic fixer: runs a trained :class:`FixNetwork`; defines the checkpoint format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file, save_file

from scenewright_stages.backends.fix.interface import FlawedView, check_fixed
from scenewright_stages.backends.fix.network import FixNetwork
from scenewright_stages.backends.runtime.errors import UnsupportedOption
from scenewright_stages.backends.runtime.loading import LoadRequest, WeightlessBackend
from scenewright_stages.vision.types import Float32Array

FORMAT = "scenewright-fixer-classic-1"
_ABOUT = "scenewright"


class ClassicFixer(WeightlessBackend):
    """Runs the checkpoint named by the option ``checkpoint``.

    Raises:
        UnsupportedOption: there is no checkpoint, or it is of the wrong kind.
    """

    def __init__(self, request: LoadRequest) -> None:
        super().__init__(request)
        path = request.context.option("checkpoint", None)
        if not path:
            raise UnsupportedOption("fix.checkpoint", path, ["a checkpoint of a TuningRun: classic has no base model"])
        self._network = load_network(Path(path))
        facts = checkpoint_facts(Path(path))
        self.record = replace(self.record, revision=f"step {facts.get('step', '?')}", licence=facts.get("licence", ""))

    def fix(self, view: FlawedView, seed: int = 0) -> Float32Array:
        """See ``Fixer.fix``; ignores the seed."""
        return check_fixed(run_network(self._network, view), view)


def save_checkpoint(path: Path, network: FixNetwork, facts: Mapping[str, Any]) -> None:
    """Writes safetensors with the facts as metadata; equal networks give equal bytes."""
    about = {"format": FORMAT, "uses_reference": network.uses_reference, "facts": dict(facts)}
    # Use a single metadata entry, because safetensors writes several in an order that differs between processes.
    metadata = {_ABOUT: json.dumps(about, sort_keys=True)}
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, path, metadata)


def load_network(path: Path) -> FixNetwork:
    """The network of a checkpoint, ready to run. Raises UnsupportedOption for another kind of file."""
    about = _about(path)
    if about.get("format") != FORMAT:
        raise UnsupportedOption("fix.checkpoint", path.name, ["a checkpoint that backend classic was tuned to"])
    network = FixNetwork(bool(about["uses_reference"]))
    network.load_state_dict(load_file(path))
    return network.eval()


def checkpoint_facts(path: Path) -> dict[str, Any]:
    """The checkpoint's metadata: backend, step, licence."""
    facts: dict[str, Any] = _about(path).get("facts", {})
    return facts


@torch.no_grad()
def run_network(network: FixNetwork, view: FlawedView) -> Float32Array:
    """The network's output, (H, W, 3), clipped to [0, 1]."""
    answer = network(*(tensor[None] for tensor in tensors_of(view)))[0]
    fixed: Float32Array = answer.clamp(0, 1).permute(1, 2, 0).numpy()
    return fixed


def tensors_of(view: FlawedView) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Render, coverage, warped reference and validity, each (C, H, W)."""
    return (
        _planes(view.srgb),
        _planes(view.alpha[..., None]),
        _planes(view.warped),
        _planes(view.valid[..., None].astype(np.float32)),
    )


def _planes(values: Float32Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1), np.float32))


def _about(path: Path) -> dict[str, Any]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            about: dict[str, Any] = json.loads((file.metadata() or {}).get(_ABOUT, "{}"))
            return about
    except (OSError, ValueError, safetensors.SafetensorError) as problem:
        raise UnsupportedOption("fix.checkpoint", path.name, [f"a readable checkpoint ({problem})"]) from problem
