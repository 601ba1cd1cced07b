"""Named inputs of an object: other inputs besides the job's own, such as another object's publication.

A reference to another object is resolved when a run starts, to the URI and hash of its publication or of one published
file. The hash is part of the keys of the stages that read it, but not of the work hash: a new publication of the other
object starts no new run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from scenewright.api.kinds import CommonSpec, TuningRunSpec
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import Kind, NamedInput, Pipeline
from scenewright_stages.contract.task import TaskNamedInput

DATASET = "dataset"
"""Name of the data set among the inputs of a TuningRun."""


@dataclass(frozen=True, order=True)
class ObjectReference:
    """Another object of the same namespace."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class ResolvedInput:
    """Another object's publication as it was when the run started.

    Attributes:
        uri: of the publication.
        hash: of the publication, or of the chosen file.
        path: of the chosen file in the publication; empty for the whole publication.
    """

    uri: str
    hash: str
    path: str = ""

    @classmethod
    def of(cls, wanted: NamedInput, uri: str, publication: str, chosen: Mapping[str, str]) -> ResolvedInput:
        """Resolves a named input from the other object's output URI, hash and named files (``path@hash``).

        Raises:
            KeyError: the publication has no file of that name.
        """
        if not wanted.chosen:
            return cls(uri, publication)
        path, _, digest = chosen[wanted.chosen].rpartition("@")
        return cls(uri, digest, path)

    def to_json(self) -> dict[str, str]:
        """As stored in the status and in ``job.json``."""
        return {name: value for name, value in vars(self).items() if value}


def named_inputs(pipeline: Pipeline, spec: CommonSpec, parameters: Params) -> tuple[NamedInput, ...]:
    """All named inputs of an object; a TuningRun's data set comes first."""
    prefix = f"spec.{pipeline.name}."
    own = tuple(
        each if not each.field or each.field.startswith("spec.") else replace(each, field=prefix + each.field)
        for each in pipeline.inputs(parameters)
    )
    if not isinstance(spec, TuningRunSpec):
        return own
    name = spec.dataset.dataset_job
    dataset = NamedInput(
        DATASET,
        uri=spec.dataset.uri,
        kind="DatasetJob" if name else "",
        object=name,
        field="spec.dataset.datasetJob" if name else "spec.dataset.uri",
    )
    return (dataset, *own)


def task_inputs(inputs: tuple[NamedInput, ...], resolved: Mapping[str, ResolvedInput]) -> dict[str, TaskNamedInput]:
    """The named inputs for stage processes, without unresolved references."""
    found: dict[str, TaskNamedInput] = {}
    for each in inputs:
        other = resolved.get(each.name) or ResolvedInput(each.uri, "")
        if other.uri:
            found[each.name] = TaskNamedInput(**vars(other), include=list(each.include), field=each.field)
    return found
