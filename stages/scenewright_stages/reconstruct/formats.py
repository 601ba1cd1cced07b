"""Exports a reconstructed scene to the formats of other programs; see `scenes.export`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.stage import StageInputs
from scenewright_stages.reconstruct.params import ReconstructParams
from scenewright_stages.reconstruct.pipeline import stages
from scenewright_stages.reconstruct.train import capture_roles
from scenewright_stages.reconstruct.views import along
from scenewright_stages.scenes.captures import view_of
from scenewright_stages.scenes.export.stage import FormatsStage
from scenewright_stages.vision.gaussians.objective import View
from scenewright_stages.vision.geometry.cameras import Camera
from scenewright_stages.vision.places.captures.frame import WORLD, Frame
from scenewright_stages.vision.places.captures.pictures import PosedPhotographs


class ReconstructionFormats(FormatsStage):
    """Exports one scene."""

    def ply(self, inputs: StageInputs[ReconstructParams]) -> Path:
        return inputs.path("render", "ply")

    def cameras(self, inputs: StageInputs[ReconstructParams]) -> Sequence[Camera]:
        photographs = self._photographs(inputs)
        train = capture_roles(photographs, inputs.params).train
        found = along([photographs.cameras[number] for number in train], inputs.params.render.frames)
        return [self._published(camera, photographs, inputs) for camera in found]

    def pictures(self, inputs: StageInputs[ReconstructParams]) -> Sequence[View]:
        photographs = self._photographs(inputs)
        found = []
        for number in capture_roles(photographs, inputs.params).held_out:
            view = view_of(photographs.photographs[number])
            found.append(View(self._published(view.camera, photographs, inputs), view.srgb, view.mask))
        return found

    def chain(self) -> Iterable[StageSpec]:
        return stages(self.params)

    def _photographs(self, inputs: StageInputs[ReconstructParams]) -> PosedPhotographs:
        return PosedPhotographs.load(inputs.path("capture", "photographs"))

    def _published(
        self, camera: Camera, photographs: PosedPhotographs, inputs: StageInputs[ReconstructParams]
    ) -> Camera:
        """A camera of the working frame in the frame of the published PLY; see `scenes.placing`."""
        frame = photographs.frame
        if inputs.find("render", "frame") is not None:
            frame = Frame(np.zeros(3), frame.unit, frame.axes)
        return WORLD.camera_from(camera, frame)
