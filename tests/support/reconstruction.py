"""Reconstructions made in this process by the pipeline's own stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from input_folders import FolderView
from pair_data import NoState

from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import ModelSettings, StageContext, StageInputs
from scenewright_stages.reconstruct.params import ReconstructParams
from scenewright_stages.reconstruct.pipeline import stages
from scenewright_stages.vision.places.captures.finding import list_photographs

EXAMPLES = Path(__file__).parents[2] / "examples"
BEACH = EXAMPLES / "inputs" / "brighton-beach"


@dataclass(frozen=True)
class Reconstructed:
    """A scene: metrics as in ``metrics.json``, warnings of all stages, and files by stage and output."""

    metrics: Mapping[str, Any]
    warnings: tuple[str, ...]
    files: Mapping[tuple[str, str], Path]

    @property
    def held_out_psnr(self) -> float:
        """Over the held-out photographs, dB."""
        return float(self.metrics["held_out"]["psnr"])


def reconstructed(folder: Path, output: Path, changes: Mapping[str, Any], seed: int = 1) -> Reconstructed:
    """The first sample of a folder by the parameters of examples/scenejob-reconstruct.yaml and these changes."""
    block = yaml.safe_load((EXAMPLES / "scenejob-reconstruct.yaml").read_text())["spec"]["reconstruct"]
    params = ReconstructParams.model_validate({**block, **changes})
    listed = (list_photographs(FolderView(folder)) or [])[0]
    sample = Sample(listed.id, files=dict.fromkeys(listed.files), attributes=listed.attributes)  # type: ignore[dict-item]
    files = {(INPUT, role): folder / key for role, key in listed.files.items()}
    metrics: Mapping[str, Any] = {}
    warnings: list[str] = []
    for spec in stages(params):
        module, _, name = spec.implementation.partition(":")
        workspace = output / spec.name
        workspace.mkdir(parents=True)
        stage = getattr(import_module(module), name)(StageContext(spec, params, ModelSettings(device="cpu")))
        made = stage.process(sample, StageInputs(files, params, seed, workspace, state=NoState()))
        files |= {(spec.name, output): path for output, path in made.outputs.items()}
        metrics, warnings = made.metrics, [*warnings, *made.warnings]
    return Reconstructed(metrics, tuple(warnings), files)
