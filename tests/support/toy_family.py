"""The toy pipeline whose second stage makes two samples of each, several of them at a time."""

from __future__ import annotations

from dataclasses import replace

from toy_pipeline import PIPELINE as TOY
from toy_pipeline import ToyParams

from scenewright_stages.contract.pipeline import StagePod, StageSpec
from scenewright_stages.contract.samples import Child, Sample


def _two(sample: Sample) -> tuple[Child, ...]:
    return Child("_a"), Child("_b")


def stages(params: ToyParams) -> tuple[StageSpec, ...]:
    """``double`` works on the files, ``sum`` on two children of each; both with three threads."""
    double, total = TOY.stages(params)
    pod = StagePod(threads=3)
    return replace(double, pod=pod), replace(total, pod=pod, expands=_two)


PIPELINE = replace(TOY, stages=stages)
