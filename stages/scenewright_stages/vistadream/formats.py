"""Exports the scene of a photograph to the formats of other programs; see `scenes.export`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.stage import StageInputs
from scenewright_stages.scenes.export.source import picture_view
from scenewright_stages.scenes.export.stage import FormatsStage
from scenewright_stages.scenes.flight import cameras_along
from scenewright_stages.scenes.frames import Frame, load_frames
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vistadream.motion import flight_path
from scenewright_stages.vistadream.params import VistaDreamParams
from scenewright_stages.vistadream.pipeline import stages
from scenewright_stages.vistadream.render import frame_count


class PhotographFormats(FormatsStage):
    """Exports one scene."""

    def ply(self, inputs: StageInputs[VistaDreamParams]) -> Path:
        return inputs.path("render", "ply")

    def cameras(self, inputs: StageInputs[VistaDreamParams]) -> Sequence[Camera]:
        frames = self._frames(inputs)
        path = flight_path(frames, inputs.params, frame_count(len(frames), inputs.params.render))
        return cameras_along(frames, path)

    def pictures(self, inputs: StageInputs[VistaDreamParams]) -> Sequence[View]:
        return [picture_view(each.camera, each.srgb, each.inpaint) for each in self._frames(inputs)]

    def chain(self) -> Iterable[StageSpec]:
        return stages(self.params)

    def _frames(self, inputs: StageInputs[VistaDreamParams]) -> list[Frame]:
        last = next(name for name in self.context.stage.upstream() if name != "render")
        return load_frames(inputs.path(last, "frames"))
