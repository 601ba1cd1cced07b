"""The toy pipeline with implementations that are not there."""

from __future__ import annotations

from dataclasses import replace

from toy_pipeline import PIPELINE as TOY
from toy_pipeline import ToyParams

from scenewright_stages.contract.pipeline import StageSpec


def stages(params: ToyParams) -> tuple[StageSpec, ...]:
    """The toy's stages, of a module that does not exist."""
    return tuple(replace(stage, implementation="no_such_module:Stage") for stage in TOY.stages(params))


PIPELINE = replace(TOY, stages=stages)
WITHOUT_REPORTER = replace(TOY, reporter="no_such_module:Reporter")
SLOW_REPORTER = replace(TOY, reporter="toy_stages:SlowReporter")
