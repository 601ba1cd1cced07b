"""The code of the stages. Only their own processes load it."""

from __future__ import annotations

import cv2
import numpy as np

from fog.pipeline import FogParams
from scenewright_stages.backends.depth.interface import DEPTH
from scenewright_stages.backends.runtime.chain import BackendChain
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import Pixels, Stage, StageContext, StageInputs, StageResult
from scenewright_stages.photographs.pictures import bytes_from_unit, read_photograph, read_rgb, unit_from_bytes
from scenewright_stages.vision.imaging.archives import save_arrays

WHITE = 0.9


class Resize(Stage[FogParams]):
    """Brings a photograph to the size of the data set."""

    def process(self, sample: Sample, inputs: StageInputs[FogParams]) -> StageResult:
        pixels = read_photograph(inputs.source).pixels
        factor = inputs.params.size / max(pixels.shape[:2])
        width, height = round(pixels.shape[1] * factor), round(pixels.shape[0] * factor)
        resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        return StageResult({"picture": Pixels(resized)})


class Depth(Stage[FogParams]):
    """Estimates the distance of every pixel. The backend is loaded once, in the constructor."""

    def __init__(self, context: StageContext[FogParams]) -> None:
        super().__init__(context)
        self.chain = BackendChain(DEPTH, (self.params.depth.backend,), context.models)

    def process(self, sample: Sample, inputs: StageInputs[FogParams]) -> StageResult:
        srgb = unit_from_bytes(read_rgb(inputs.path("resize", "picture")))
        estimate, use = self.chain.call(lambda backend: backend.estimate(srgb))
        metres = np.where(estimate.valid, estimate.depth, np.float32(1000.0))
        save_arrays(inputs.workspace / "depth.npz", {"metres": metres})
        return StageResult({"depth": inputs.workspace / "depth.npz"}, backends=[use])


class Fog(Stage[FogParams]):
    """Mixes every pixel with white, the more the farther away it is. Density is drawn from the sample's own seed."""

    def process(self, sample: Sample, inputs: StageInputs[FogParams]) -> StageResult:
        srgb = unit_from_bytes(read_rgb(inputs.path("resize", "picture")))
        metres = np.load(inputs.path("depth", "depth"))["metres"]
        thinnest, thickest = inputs.params.density
        density = np.random.default_rng(inputs.seed).uniform(thinnest, thickest)
        clear = np.exp(-density * metres)[..., None]
        foggy = bytes_from_unit(srgb * clear + WHITE * (1.0 - clear))
        return StageResult({"picture": Pixels(foggy)}, metrics={"density": round(density, 3)})
