"""The plan of an object: its pipeline, effective parameters, chain of stages, keys and work hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scenewright.api.kinds import JobSpec
from scenewright.planning import backends
from scenewright.planning.effective import effective_parameters
from scenewright.planning.kinds import kind_of, manifest_model, pipeline_of
from scenewright.planning.problems import SpecError
from scenewright.planning.selection import selected_stages
from scenewright.planning.validation import validated
from scenewright_stages.contract.keys import short_hash, stage_keys
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import Pipeline, StageSpec


@dataclass(frozen=True)
class Plan:
    """What an object asks for, ready to be carried out.

    Attributes:
        kind, name, namespace: of the object.
        spec: as validated.
        pipeline: the pipeline whose block the spec holds.
        parameters: effective ones of the pipeline, after ``stageOverrides``.
        chain: all stages of the pipeline with these parameters, in the order in which they run.
        selected: names of those that may run.
        keys: key of every stage of the chain.
        work_hash: equal hashes mean the same work; only another one starts another run.
    """

    kind: str
    name: str
    namespace: str
    spec: JobSpec
    pipeline: Pipeline
    parameters: Params
    chain: tuple[StageSpec, ...]
    selected: tuple[str, ...]
    keys: Mapping[str, str]
    work_hash: str

    def stage(self, name: str) -> StageSpec:
        """One stage of the chain; KeyError when there is none of that name."""
        return {stage.name: stage for stage in self.chain}[name]

    def effective_object(self) -> dict[str, Any]:
        """The object with all defaults and overrides written out, as ``job.json`` keeps it."""
        spec = self.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        spec[self.pipeline.name] = self.parameters.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {
            "apiVersion": "scenewright.io/v1alpha1",
            "kind": self.kind,
            "metadata": {"name": self.name},
            "spec": spec,
        }


def make_plan(document: Mapping[str, Any], revision_of: backends.RevisionOf = backends.declared_revision) -> Plan:
    """The plan of a raw document with absolute URIs.

    Args:
        document: the object as its file holds it.
        revision_of: which revision of weights will run; it is part of the keys.

    Raises:
        SpecError: with all problems that can be told without looking at the input.
    """
    kind = kind_of(document)
    manifest = validated(document, manifest_model(kind))
    spec = manifest.spec
    pipeline = pipeline_of(kind, spec)
    parameters, chain = effective_parameters(pipeline, getattr(spec, pipeline.name), spec.execution.stage_overrides)
    selected = _checked_selection(spec, parameters, chain)
    return Plan(
        kind=kind,
        name=manifest.metadata.name,
        namespace=manifest.metadata.namespace,
        spec=spec,
        pipeline=pipeline,
        parameters=parameters,
        chain=chain,
        selected=selected,
        keys=stage_keys(chain, parameters, backends.revisions(chain, revision_of), spec.execution.seed),
        work_hash=work_hash(spec, pipeline.name, parameters),
    )


def work_hash(spec: JobSpec, pipeline: str, parameters: Params) -> str:
    """Hash of all that decides what is made and how it is tried; values at their defaults are left out of it.

    Suspension, parallelism, priority, deadlines and TTL are not in it: they start nothing.
    """
    execution = spec.execution
    return short_hash(
        {
            "input": _differences(spec.input),
            "output": _differences(spec.output),
            "pipeline": {pipeline: _differences(parameters)},
            "stages": _differences(execution.stages),
            "seed": execution.seed,
            "samplesPerShard": execution.samples_per_shard,
            "retries": _differences(execution.retries),
            "onSampleError": execution.on_sample_error,
            "models": _differences(spec.models),
            "retryToken": execution.retry_token,
        }
    )


def _checked_selection(spec: JobSpec, parameters: Params, chain: tuple[StageSpec, ...]) -> tuple[str, ...]:
    """The stages that may run, once every licence that they need is accepted."""
    selected = selected_stages(chain, spec.execution.stages)
    problems = backends.licence_problems(chain, parameters, selected, spec.models.accept_licenses)
    if problems:
        raise SpecError(problems)
    return selected


def _differences(block: Params) -> dict[str, Any]:
    return block.model_dump(mode="json", by_alias=True, exclude_defaults=True)
