"""The toy pipeline with a first stage whose foreign code never gives the interpreter back, on samples named so."""

from __future__ import annotations

import ctypes
from dataclasses import replace

from toy_pipeline import PIPELINE as TOY
from toy_pipeline import ToyParams
from toy_stages import DoubleStage

from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.stage import StageInputs, StageResult


class HangingStage(DoubleStage):
    """Sleeps inside C without releasing the interpreter: no Python thread runs meanwhile."""

    def process(self, sample: Sample, inputs: StageInputs) -> StageResult:
        result = super().process(sample, inputs)
        if sample.id == "s0001":
            ctypes.PyDLL(None).sleep(120)
        return result


def stages(params: ToyParams) -> tuple[StageSpec, ...]:
    """The toy's stages, the first one hanging."""
    double, *others = TOY.stages(params)
    return (replace(double, implementation="toy_hanging:HangingStage"), *others)


PIPELINE = replace(TOY, stages=stages)
