"""The stage that trains a fixer and writes checkpoints, the loss curve and the training configuration."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from scenewright_stages.backends.fix.difix import base_network
from scenewright_stages.backends.fix.interface import FIX
from scenewright_stages.backends.perception.interface import PERCEPTION
from scenewright_stages.backends.runtime.acceleration import COMPILE, NETWORK, NONE
from scenewright_stages.backends.runtime.loading import LoadRequest, ModelContext, load, prepare
from scenewright_stages.contract.errors import Abandoned, ConfigurationError
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import BackendUse, Stage, StageInputs, StageResult
from scenewright_stages.difix.difix_learning import DifixLearner
from scenewright_stages.difix.fixer_params import FixerParams
from scenewright_stages.difix.learning import SCORE_DIGITS, ClassicLearner, Learner, Row
from scenewright_stages.difix.pairs_data import PairFiles, read_pairs, validation_split
from scenewright_stages.difix.team import Team, assembled, own_device

DATASET = "dataset"
LPIPS = "lpips-vgg"
USE = BackendUse("fix", "classic", notes="Trained from scratch on the data set's pairs.")


class TuneStage(Stage[FixerParams]):
    """Trains a fixer on the pairs of the data set."""

    def process(self, sample: Sample, inputs: StageInputs[FixerParams]) -> StageResult:
        """Writes the checkpoints; an interrupted process resumes at the last saved state.

        With several ranks only rank 0 writes; the others return an empty result.
        """
        root = inputs.named[DATASET]
        everything = read_pairs(root, "train")
        for side, found in (("train", everything), ("test", read_pairs(root, "test"))):
            if not found:
                raise ConfigurationError("spec.dataset", root.name, f"has no pairs to {side} on")
        pairs, held = validation_split(everything, inputs.params.validation_fraction)
        base = self._base(inputs.params)
        device = own_device(base.context.device, inputs.ranks) if base else "cpu"
        with assembled(inputs.ranks, device) as team:
            learner, uses = self._learner(base, inputs, team)
            folder = inputs.workspace / "checkpoints"
            folder.mkdir()
            self._learn(learner, pairs, held, inputs, folder)
        if not team.leads:
            return StageResult({})
        outputs = {
            "checkpoints": folder,
            "config": inputs.workspace / "train_config.json",
            "loss": inputs.workspace / "loss.csv",
            "curve": inputs.workspace / "loss.png",
        }
        config = train_config(inputs, pairs, held, uses)
        outputs["config"].write_text(json.dumps(config, indent=1) + "\n")
        outputs["loss"].write_text(loss_table(learner.rows))
        write_curve(outputs["curve"], learner.rows)
        metrics = {
            "best_step": learner.best[0],
            "latest_step": learner.rows[-1][0],
            "best_validation_psnr": round(learner.best[1], 4),
            "parameters": sum(value.numel() for value in learner.network.parameters()),
            "pairs": len(pairs),
            "validation_pairs": len(held),
        }
        return StageResult(outputs, metrics=metrics, warnings=_warnings(everything), backends=uses)

    def _base(self, params: FixerParams) -> LoadRequest | None:
        """The base weights of the backend; None for classic, which trains from scratch."""
        if params.backend == "classic":
            return None
        return prepare(
            FIX.name, params.backend, ModelContext.from_settings(self.context.models, params.variant or None)
        )

    def _learner(
        self, base: LoadRequest | None, inputs: StageInputs[FixerParams], team: Team
    ) -> tuple[Learner[Any], list[BackendUse]]:
        """The backend's learner, and the backend uses to record (base weights and perception)."""
        params = inputs.params
        if base is None:
            return ClassicLearner(params, inputs.seed), [USE]
        models = replace(self.context.models, device=team.device)
        assert inputs.state is not None
        compiles = params.difix.compiles(team.device, params.steps - inputs.state.step)
        perception = None
        if params.needs_perception:
            options = {COMPILE: NETWORK if compiles else NONE}
            perception = load(PERCEPTION, LPIPS, ModelContext.from_settings(models, options=options))
        network = base_network(base.folder, inputs.seed).to(team.device)
        facts = {
            "variant": base.record.variant,
            "base": base.record.weights_id,
            "base_revision": base.record.revision,
            "licence": base.record.licence,
            "uses_reference": params.use_reference,
        }
        uses = [replace(base.record.use(), notes="Tuned on the data set's pairs.")]
        if perception is not None:
            uses.append(perception.record.use())
        learner = DifixLearner(network, params, inputs.seed, facts, perception, team)
        if compiles:
            learner.compile(base.context.cache_dir)
        return learner, uses

    def _learn(
        self,
        learner: Learner[Any],
        pairs: Sequence[PairFiles],
        held: Sequence[PairFiles],
        inputs: StageInputs[FixerParams],
        folder: Path,
    ) -> None:
        """Runs the remaining steps, writing checkpoints and states."""
        params, state, team = inputs.params, inputs.state, learner.team
        assert state is not None
        if state.step:
            learner.restore(state.files["learner.pt"])
            for name, path in state.files.items():
                if name.startswith("model_"):
                    (folder / name).write_bytes(path.read_bytes())
        for number in range(state.step + 1, params.steps + 1):
            loss = learner.step(number, pairs)
            if team.leads and (number % params.checkpoint_every == 0 or number == params.steps):
                score = learner.validate(held)
                learner.write_checkpoint(folder, number)
                self.context.numbers({"loss": loss, "validation_psnr": score})
            ending, stops = team.agreed(self.context.should_stop(), _stops(learner, params))
            due = number % params.state_every == 0 and number < params.steps and not stops
            if team.leads and (ending or due):
                kept = inputs.workspace / "learner.pt"
                learner.save(kept)
                state.save(number, {kept.name: kept, **{path.name: path for path in sorted(folder.iterdir())}})
                self.context.numbers({"loss": loss})
            if ending and team.leads:
                raise Abandoned
            if ending or stops:
                break
            self.context.progress(number / params.steps, f"step {number}")


def train_config(
    inputs: StageInputs[FixerParams],
    pairs: Sequence[PairFiles],
    held: Sequence[PairFiles],
    uses: Sequence[BackendUse],
) -> dict[str, Any]:
    """The training configuration behind the checkpoints."""
    return {
        "backend": inputs.params.backend,
        "began_from": [use.to_json() for use in uses],
        "parameters": inputs.params.model_dump(mode="json", by_alias=True),
        "seed": inputs.seed,
        "data": {
            "publication": inputs.hashes.get(DATASET, ""),
            "pairs": len(pairs),
            "groups": sorted({pair.group for pair in pairs}),
            "validation_groups": sorted({pair.group for pair in held}),
        },
        "versions": {name: version(name) for name in ("scenewright", "torch", "numpy", *_packages(inputs.params))},
    }


def _packages(params: FixerParams) -> tuple[str, ...]:
    return () if params.backend == "classic" else ("diffusers", "transformers")


def loss_table(rows: Sequence[Row]) -> str:
    """``loss.csv``: the loss of every step, and validation PSNR if measured."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("step", "loss", "validation_psnr"))
    for step, loss, score in rows:
        writer.writerow((step, f"{loss:.9g}", "" if math.isnan(score) else f"{score:.{SCORE_DIGITS}f}"))
    return text.getvalue()


def read_loss_table(path: Path) -> list[Row]:
    """The inverse of :func:`loss_table`."""
    with path.open(newline="") as file:
        return [
            (int(row["step"]), float(row["loss"]), float(row["validation_psnr"] or "nan"))
            for row in csv.DictReader(file)
        ]


def write_curve(path: Path, rows: Sequence[Row], size: tuple[int, int] = (640, 320)) -> None:
    """Plots the loss over the steps, on a logarithmic scale, with its running mean."""
    width, height = size
    canvas = np.full((height, width, 3), 255, np.uint8)
    values = np.log10(np.maximum([loss for _, loss, _ in rows], 1e-9))
    low, high = float(values.min()), float(max(values.max(), values.min() + 1e-3))
    smooth = np.convolve(np.pad(values, (10, 10), mode="edge"), np.ones(21) / 21, mode="valid")
    for series, colour in ((values, (215, 215, 215)), (smooth, (160, 60, 20))):
        across = np.linspace(50, width - 10, len(series))
        down = 10 + (high - series) / (high - low) * (height - 40)
        points = np.stack([across, down], axis=1).round().astype(np.int32)
        cv2.polylines(canvas, [points], False, colour, 1, cv2.LINE_AA)
    font = cv2.FONT_HERSHEY_SIMPLEX
    for text, place in (
        (f"{10**high:.3g}", (4, 16)),
        (f"{10**low:.3g}", (4, height - 28)),
        (f"loss over {rows[-1][0]} steps", (width // 2 - 70, height - 8)),
    ):
        cv2.putText(canvas, text, place, font, 0.4, (60, 60, 60), 1, cv2.LINE_AA)
    cv2.imwrite(str(path), canvas)


def _stops(learner: Learner[Any], params: FixerParams) -> bool:
    """Whether to stop early, because the last checkpoints brought no improvement."""
    waited = learner.rows[-1][0] - learner.best[0]
    return (
        bool(params.patience)
        and not math.isnan(learner.rows[-1][2])
        and waited >= params.patience * params.checkpoint_every
    )


def _warnings(pairs: Sequence[PairFiles]) -> list[str]:
    without = sum(pair.conditions is None for pair in pairs)
    if not without:
        return []
    return [f"{without} of {len(pairs)} pairs come without coverage and warped reference: the fixer learns without"]
