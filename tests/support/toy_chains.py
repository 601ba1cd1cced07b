"""Chains, samples and records made by hand, for tests of the rules that say what runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scenewright_stages.contract.keys import stage_keys
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import Pipeline, StageSpec, stage_levels
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.samples import Sample, SourceFile
from scenewright_stages.worker.chain import Chain


def pipeline_of(*stages: StageSpec, params: type[Params] = Params, **fields: Any) -> Pipeline:
    """A pipeline with these stages, whatever its parameters."""
    return Pipeline("toy", "SceneJob", params, lambda _: stages, **fields)


def chain_of(
    pipeline: Pipeline,
    block: Mapping[str, Any] | None = None,
    keys: Mapping[str, str] | None = None,
    selected: Sequence[str] | None = None,
) -> Chain:
    """The pipeline as a task names it, with keys of its own unless some are given; all stages may run."""
    parameters = pipeline.parse(block or {})
    stages = pipeline.stages(parameters)
    names = [stage.name for stage in stages]
    return Chain(
        pipeline,
        block or {},
        parameters,
        stages,
        dict(keys or stage_keys(pipeline, parameters, {}, 42)),
        frozenset(names if selected is None else selected),
        stage_levels(stages),
    )


def photo(name: str = "s", **fields: Any) -> Sample:
    """An indexed sample of one file."""
    return Sample(name, {"source": SourceFile(f"file:///in/{name}.png", 3, f"print-{name}")}, **fields)


def by_sample(records: Sequence[Record]) -> dict[str, dict[str, list[Record]]]:
    """Records as readers of an output find them: by stage and sample."""
    found: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        found.setdefault(record.stage, {}).setdefault(record.sample, []).append(record)
    return found
