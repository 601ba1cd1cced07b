"""Exports a world to the formats of other programs; see `scenes.export`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.stage import StageInputs
from scenewright_stages.scenes.captures import view_of
from scenewright_stages.scenes.export.stage import FormatsStage
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.worldexplorer.capture import read_world_capture
from scenewright_stages.worldexplorer.export import read_walk
from scenewright_stages.worldexplorer.params import WorldExplorerParams
from scenewright_stages.worldexplorer.pipeline import stages


class WorldFormats(FormatsStage):
    """Exports one world."""

    def ply(self, inputs: StageInputs[WorldExplorerParams]) -> Path:
        return inputs.path("export", "ply")

    def cameras(self, inputs: StageInputs[WorldExplorerParams]) -> Sequence[Camera]:
        return read_walk(inputs.path("export", "path"))

    def pictures(self, inputs: StageInputs[WorldExplorerParams]) -> Sequence[View]:
        capture = read_world_capture(inputs.path("points", "capture"), inputs.params.training.held_out_every)
        return [view_of(each) for each in capture.central()]

    def chain(self) -> Iterable[StageSpec]:
        return stages(self.params)
