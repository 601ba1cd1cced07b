"""Runs the chain of a world in this process, stage by stage, as the worker does."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from scenewright_stages.contract.pipeline import INPUT, StageSpec, stage_levels
from scenewright_stages.contract.samples import Family, Sample, SourceFile
from scenewright_stages.contract.stage import (
    Local,
    Member,
    ModelSettings,
    Pixels,
    StageContext,
    StageInputs,
    StageResult,
)
from scenewright_stages.worldexplorer.params import WorldExplorerParams
from scenewright_stages.worldexplorer.pipeline import stages, views_of

TINY: dict[str, Any] = {
    "scaffold": {"method": "panorama", "size": 64, "panoramaHeight": 96},
    "depth": {"cameraHeight": 1.3, "ceiling": "yes"},
    "expansion": {"stride": 45, "resolution": 48},
    "training": {"steps": 10, "segment": 10, "heldOutEvery": 4},
    "walk": {"frames": 4, "width": 64, "height": 48, "reach": 0.3},
}


ON_THE_CPU = ModelSettings(device="cpu")


class MemoryState:
    """State that lives as long as the test."""

    step = 0

    def __init__(self) -> None:
        self.files: dict[str, Path] = {}

    def save(self, step: int, files: Mapping[str, Path]) -> None:
        self.step, self.files = step, dict(files)


class Chain:
    """What the stages made so far.

    Args:
        models: where models come from; none for classic backends.
        answer: of the person who is asked.

    Attributes:
        stages: of the chain.
        made: result by stage and sample id.
        files: local outputs by stage and sample id.
    """

    def __init__(
        self,
        folder: Path,
        block: Mapping[str, Any],
        files: Mapping[str, Path],
        models: ModelSettings = ON_THE_CPU,
        answer: Mapping[str, str] | None = None,
    ) -> None:
        self.folder, self.inputs, self.models, self.answer = folder, dict(files), models, answer or {}
        self.params = WorldExplorerParams.model_validate(block)
        sources = {role: SourceFile(str(path), path.stat().st_size, "") for role, path in files.items()}
        self.stages = stages(self.params)
        self.root = Sample("world", sources)
        self.family = Family.of(self.root, [views_of])
        self.made: dict[tuple[str, str], StageResult] = {}
        self.files: dict[tuple[str, str], dict[str, Local]] = {}

    def run(self, until: str = "export") -> Chain:
        """Runs all stages up to one."""
        levels = stage_levels(self.stages)
        for stage in self.stages:
            for sample in self.family.levels[levels[stage.name]]:
                self.run_one(stage, sample)
            if stage.name == until:
                break
        return self

    def run_one(self, stage: StageSpec, sample: Sample) -> StageResult:
        """Runs one stage on one sample."""
        module, name = stage.implementation.split(":")
        context = StageContext(stage, self.params, self.models)
        workspace = self.folder / stage.name / sample.id
        shutil.rmtree(workspace, ignore_errors=True)
        workspace.mkdir(parents=True)
        state = MemoryState() if stage.keeps_state else None
        inputs = StageInputs(
            self._inputs(stage, sample),
            self.params,
            7,
            workspace,
            families=self._families(stage, sample),
            answer=self.answer if stage.asks is not None else {},
            state=state,
        )
        result: StageResult = getattr(import_module(module), name)(context).process(sample, inputs)
        names = {output.name: output.optional for output in stage.outputs}
        assert names.keys() >= set(result.outputs) >= {name for name, optional in names.items() if not optional}
        self.made[stage.name, sample.id] = result
        self.files[stage.name, sample.id] = {
            name: _stored(workspace, name, value) for name, value in result.outputs.items()
        }
        return result

    def _inputs(self, stage: StageSpec, sample: Sample) -> dict[tuple[str, str], Local]:
        found: dict[tuple[str, str], Local] = {}
        for read in stage.reads:
            if read.stage == INPUT:
                found |= {(INPUT, role): path for role, path in self.inputs.items()}
            elif read.of == "own":
                own = next(each.id for each in sample.lineage()[::-1] if (read.stage, each.id) in self.files)
                made = self.files[read.stage, own]
                found |= {(read.stage, name): made[name] for name in read.outputs or made if name in made}
        return found

    def _families(self, stage: StageSpec, sample: Sample) -> dict[str, Sequence[Member]]:
        children = self.family.levels[1]
        return {
            read.stage: [Member(child, self.files[read.stage, child.id]) for child in children]
            for read in stage.reads
            if read.of != "own"
        }


def _stored(workspace: Path, name: str, value: Any) -> Local:
    if isinstance(value, Path):
        return value
    if isinstance(value, Pixels):
        path = workspace / f"{name}.png"
        pixels = np.asarray(value.values)
        cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)
        return path
    return tuple(_stored(workspace, f"{name}_{number}", each) for number, each in enumerate(value))  # type: ignore[misc]
