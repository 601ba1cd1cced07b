"""Two processes measure the letters of half of the cards each, and share what they found in every step."""

from __future__ import annotations

import json
import string
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import distributed

from lettering.pipeline import LetteringParams
from scenewright_stages.contract.errors import Abandoned
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Catalogue, Stage, StageInputs, StageResult

STATE = "state.json"


class Fit(Stage[LetteringParams]):
    """Moves the weights towards the letters of the training cards, and saves state on the way."""

    def process(self, sample: Sample, inputs: StageInputs[LetteringParams]) -> StageResult:
        ranks = inputs.ranks
        distributed.init_process_group("gloo", ranks.rendezvous, rank=ranks.rank, world_size=ranks.count)
        try:
            weights, losses = self._fitted(inputs, _counts(_cards(inputs)[ranks.rank :: ranks.count]))
        finally:
            distributed.destroy_process_group()
        return _result(inputs, weights, losses)

    def _fitted(self, inputs: StageInputs[LetteringParams], own: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
        """The weights (26, float64) and the loss of every step."""
        params, state = inputs.params, inputs.state
        assert state is not None
        saved = json.loads(state.files[STATE].read_text()) if state.step else {"weights": [0.0] * 26, "losses": []}
        weights, losses = torch.tensor(saved["weights"], dtype=torch.float64), list(saved["losses"])
        for step in range(state.step + 1, params.steps + 1):
            time.sleep(params.seconds)
            together = own.clone()
            distributed.all_reduce(together)
            difference = together / together.sum() - weights
            weights += params.rate * difference
            losses.append(float(difference.square().sum()))
            self.context.numbers({"step": step, "loss": losses[-1]})
            self._save(inputs, step, weights, losses)
        return weights, losses

    def _save(
        self, inputs: StageInputs[LetteringParams], step: int, weights: torch.Tensor, losses: list[float]
    ) -> None:
        """Saves state where it is due; when the process is to end, it does so and ends."""
        ending = self.context.should_stop()
        if inputs.ranks.rank == 0 and inputs.state is not None and (ending or step % inputs.params.interval == 0):
            path = inputs.workspace / STATE
            path.write_text(json.dumps({"weights": weights.tolist(), "losses": losses}))
            inputs.state.save(step, {STATE: path})
        if ending:
            raise Abandoned


def chosen_files(catalogue: Catalogue) -> Mapping[str, str]:
    """The weights, which other objects may refer to."""
    paths = [entry.records["fit"].outputs["weights"].path for entry in catalogue.entries]
    return {"weights": paths[0]} if paths else {}


def _cards(inputs: StageInputs[LetteringParams]) -> list[Path]:
    """The training cards that the album lists, in its order."""
    listed: dict[str, Any] = json.loads(inputs.named["album"].read_text())["cards"]
    folder = inputs.named["dataset"]
    return [folder / "train" / f"{name}.json" for name, card in listed.items() if card["split"] == "train"]


def _counts(cards: list[Path]) -> torch.Tensor:
    """How often each letter is in the files: (26,), float64."""
    text = "".join(path.read_text() for path in cards).lower()
    return torch.tensor([float(text.count(letter)) for letter in string.ascii_lowercase], dtype=torch.float64)


def _result(inputs: StageInputs[LetteringParams], weights: torch.Tensor, losses: list[float]) -> StageResult:
    workspace = inputs.workspace
    save_file({"letters": weights}, workspace / "weights.safetensors")
    (workspace / "history.json").write_text(json.dumps({"losses": losses, "learned_from": dict(inputs.hashes)}) + "\n")
    files = {"weights": workspace / "weights.safetensors", "history": workspace / "history.json"}
    return StageResult(files, metrics={"loss": losses[-1]})
