"""Evaluates the best checkpoint of a run on unseen test groups, against tuned baseline filters."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from scenewright_stages.backends.fix.interface import FIX, FlawedView
from scenewright_stages.backends.perception.interface import PERCEPTION, Perception
from scenewright_stages.backends.runtime.errors import MissingWeights
from scenewright_stages.backends.runtime.loading import ModelContext, load
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Stage, StageInputs, StageResult
from scenewright_stages.difix.baselines import tuned_baselines
from scenewright_stages.difix.fixer_params import FixerParams
from scenewright_stages.difix.learning import CHECKPOINT, best_checkpoint
from scenewright_stages.difix.pairs_data import LoadedPair, PairFiles, load_pair, load_reference, read_pairs
from scenewright_stages.difix.strategies import evenly_spaced
from scenewright_stages.difix.tune import DATASET, LPIPS, read_loss_table
from scenewright_stages.vision.imaging.metrics import array_psnr, ssim

METHOD = "tuned"
TUNED_ON = 24
"""Training pairs on which the filters are tuned."""
WORST = 12
STRIP_GAP = 4
"""White rows below each strip."""
_DRAWS = 1000

Score = dict[str, dict[str, float]]


class EvaluateStage(Stage[FixerParams]):
    """Measures PSNR, SSIM and LPIPS by group, with bootstrap intervals."""

    def process(self, sample: Sample, inputs: StageInputs[FixerParams]) -> StageResult:
        """Writes ``eval/``: numbers, table and strips."""
        root = inputs.named[DATASET]
        best, _ = best_checkpoint(read_loss_table(inputs.path("tune", "loss")))
        checkpoint = inputs.path("tune", "checkpoints") / f"{CHECKPOINT.format(step=best)}.safetensors"
        context = ModelContext.from_settings(
            self.context.models, inputs.params.variant or None, {"checkpoint": str(checkpoint)}
        )
        fixer = load(FIX, inputs.params.backend, context)
        perception, lpips = self._perception()
        methods: dict[str, Callable[[FlawedView], NDArray[np.float32]]] = {METHOD: fixer.fix}
        train = read_pairs(root, "train")
        tuned = tuned_baselines([load_pair(each) for each in evenly_spaced(train, TUNED_ON)])
        methods |= {each.name: each for each in tuned}
        tests = read_pairs(root, "test")
        scores = {pair.name: scored(_seen(pair, inputs.params), methods, perception) for pair in tests}
        report = {
            "checkpoint": checkpoint.name,
            "pairs": len(tests),
            "baselines": {each.name: each.strength for each in tuned},
            "lpips": lpips,
            "all": summary(list(scores.values()), inputs.seed),
            "groups": grouped(tests, scores, inputs.seed),
        }
        uses = [fixer.record.use(), *([perception.record.use()] if perception else [])]
        return replace(self._result(inputs, report, tests, scores, methods), backends=uses)

    def _perception(self) -> tuple[Perception | None, str]:
        """The LPIPS network and its description in the report; None if its weights are missing."""
        try:
            return load(PERCEPTION, LPIPS, ModelContext.from_settings(self.context.models)), "on VGG-16, version 0.1"
        except MissingWeights as missing:
            if PERCEPTION.name in self.context.stage.models.backends:
                raise
            return None, f"not measured: the weights {missing.weights_id} are not in the model cache"

    def _result(
        self,
        inputs: StageInputs[FixerParams],
        report: Mapping[str, Any],
        tests: Sequence[PairFiles],
        scores: Mapping[str, Score],
        methods: Mapping[str, Callable[[FlawedView], NDArray[np.float32]]],
    ) -> StageResult:
        names = {"metrics": "metrics.json", "table": "table.md"}
        outputs = {name: inputs.workspace / file for name, file in names.items()}
        outputs["table"].write_text(table(report))
        gains = {name: score[METHOD]["psnr"] - score["identity"]["psnr"] for name, score in scores.items()}
        worst = sorted(tests, key=lambda pair: gains[pair.name])[:WORST]
        strips = {"strips": evenly_spaced(tests, inputs.params.test_strips), "worst": worst}
        shown: dict[str, list[dict[str, Any]]] = {}
        for name, chosen in strips.items():
            outputs[name] = inputs.workspace / f"{name}.png"
            rows = [strip(_seen(pair, inputs.params), methods[METHOD]) for pair in chosen]
            cv2.imwrite(str(outputs[name]), stacked(rows)[..., ::-1])
            shown[name] = [
                {"pair": pair.name, "gain": round(gains[pair.name], 2), "height": row.shape[0], "width": row.shape[1]}
                for pair, row in zip(chosen, rows, strict=True)
            ]
        outputs["metrics"].write_text(json.dumps({**report, "shown": shown}, indent=1, sort_keys=True) + "\n")
        whole = report["all"]["gain_over"]
        metrics = {
            "psnr": report["all"]["methods"][METHOD]["psnr"],
            **{f"gain_over_{name}": gain["mean"] for name, gain in whole.items()},
        }
        lost = [name for name, found in report["groups"].items() if found["gain_over"]["identity"]["mean"] < 0]
        warnings = [f"group {name} is worse than without the fixer" for name in lost]
        return StageResult(outputs, metrics=metrics, warnings=warnings)


def scored(
    pair: LoadedPair,
    methods: Mapping[str, Callable[[FlawedView], NDArray[np.float32]]],
    perception: Perception | None = None,
) -> Score:
    """PSNR, SSIM and, if available, LPIPS of every method on a pair."""
    truth = torch.from_numpy(pair.target)
    counted = None if pair.counted is None else torch.from_numpy(pair.counted)
    found = {}
    for name, method in methods.items():
        picture = pair.judged(np.clip(method(pair.view), 0, 1))
        similarity = float(ssim(torch.from_numpy(picture), truth, counted))
        found[name] = {"psnr": array_psnr(picture, pair.target, pair.counted), "ssim": similarity}
        if perception is not None:
            found[name]["lpips"] = _distance(picture, pair.target, perception)
    return found


def _distance(picture: NDArray[np.float32], truth: NDArray[np.float32], perception: Perception) -> float:
    both = (torch.from_numpy(each).permute(2, 0, 1)[None].to(perception.device) for each in (picture, truth))
    with torch.no_grad():
        return float(perception.distance(*both))


def grouped(pairs: Sequence[PairFiles], scores: Mapping[str, Score], seed: int) -> dict[str, Any]:
    """The summary of each group."""
    by_group: dict[str, list[Score]] = defaultdict(list)
    for pair in pairs:
        by_group[pair.group].append(scores[pair.name])
    return {group: summary(own, seed) for group, own in sorted(by_group.items())}


def summary(scores: Sequence[Score], seed: int) -> dict[str, Any]:
    """Means of every method, and the tuned fixer's gain over each other method with its 95 % bootstrap interval."""
    names = list(scores[0]) if scores else []
    methods = {
        name: {key: round(float(np.mean([score[name][key] for score in scores])), 4) for key in scores[0][name]}
        for name in names
    }
    gains = {
        name: interval(np.array([score[METHOD]["psnr"] - score[name]["psnr"] for score in scores]), seed)
        for name in names
        if name != METHOD
    }
    return {"pairs": len(scores), "methods": methods, "gain_over": gains}


def interval(values: NDArray[np.float64], seed: int) -> dict[str, float]:
    """Mean with its 95 % bootstrap interval."""
    draws = np.random.default_rng(seed).integers(len(values), size=(_DRAWS, len(values)))
    low, high = np.percentile(values[draws].mean(axis=1), (2.5, 97.5))
    return {"mean": round(float(values.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def table(report: Mapping[str, Any]) -> str:
    """Markdown table with the PSNR of every method, and the gain over the render with its interval."""
    methods = report["all"]["methods"]
    lines = ["| group | pairs | " + " | ".join(f"{name} dB" for name in methods) + " | gain (95 %) |"]
    lines.append("|" + "---|" * (3 + len(methods)))
    for name, found in {"all": report["all"], **report["groups"]}.items():
        values = " | ".join(f"{found['methods'][each]['psnr']:.2f}" for each in methods)
        gain = found["gain_over"]["identity"]
        spread = f"{gain['mean']:+.2f} ({gain['low']:+.2f} to {gain['high']:+.2f})"
        lines.append(f"| {name} | {found['pairs']} | {values} | {spread} |")
    return "\n".join(lines) + "\n"


def strip(pair: LoadedPair, fixer: Callable[[FlawedView], NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Render, fixed render, photograph and warped reference side by side, (H, 4 W, 3)."""
    pictures = (pair.view.srgb, fixer(pair.view), pair.target, pair.view.warped)
    return np.round(np.clip(np.concatenate(pictures, axis=1), 0, 1) * 255).astype(np.uint8)


def stacked(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Strips of possibly different widths, stacked on white."""
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, STRIP_GAP), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(padded)


def _seen(files: PairFiles, params: FixerParams) -> LoadedPair:
    """A pair as the fixer sees it; the classic fixer gets the reference only as a warp."""
    pair = load_pair(files)
    if params.backend == "classic" or not params.use_reference or files.reference is None:
        return pair
    return replace(pair, view=replace(pair.view, reference=load_reference(files.reference)))
