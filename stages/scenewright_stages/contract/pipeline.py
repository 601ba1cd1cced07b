"""Pipelines and stages as data: what the planner, the worker and the reports all read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.params import Params

INPUT = "input"
"""Name that stages use for the job's own input among what they read."""


@dataclass(frozen=True)
class Read:
    """What a stage reads of one upstream stage (or of ``input``): the outputs' names, all of them when empty."""

    stage: str
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resources:
    """What a Pod of the stage asks for: CPU cores, memory and scratch in GiB, GPUs and their memory in GiB."""

    cpu: float = 2.0
    memory_gib: float = 4.0
    scratch_gib: float = 8.0
    gpus: int = 0
    gpu_memory_gib: float = 0.0


@dataclass(frozen=True)
class StageSpec:
    """One stage of a pipeline.

    Attributes:
        name: unique in the pipeline, a DNS label.
        version: raised when the code or a default changes what comes out.
        implementation: ``module:Class`` of the :class:`~scenewright_stages.contract.stage.Stage`.
        image: name of the stage image (a folder of ``images/``).
        reads: upstream stages and outputs.
        outputs: contracts of the files that it writes.
        parameters: dotted paths of the parameters that its results depend on.
        backends: backend in use by capability, such as ``{"depth": "classic"}``.
        backend_parameters: dotted path of the parameter that names the backend, by capability.
        resources: what one Pod asks for.
        seconds_per_sample: rough duration, from which shard sizes follow.
    """

    name: str
    version: int
    implementation: str
    reads: tuple[Read, ...]
    outputs: tuple[OutputContract, ...]
    parameters: tuple[str, ...] = ()
    image: str = "scene"
    backends: dict[str, str] = field(default_factory=dict)
    backend_parameters: dict[str, str] = field(default_factory=dict)
    resources: Resources = Resources()
    seconds_per_sample: float = 60.0
    title: str = ""

    def upstream(self) -> tuple[str, ...]:
        """Names of the stages that this one reads, without the job's input."""
        return tuple(read.stage for read in self.reads if read.stage != INPUT)

    def output(self, name: str) -> OutputContract:
        """The contract of one output by name; KeyError when there is none."""
        for output in self.outputs:
            if output.name == name:
                return output
        raise KeyError(f"stage {self.name} has no output {name!r}")


@dataclass(frozen=True)
class InputKind:
    """What the index stage lists as samples.

    Attributes:
        suffixes: file name endings (lower case) that count as a sample.
        sidecars: role -> endings appended to the sample's stem, such as ``{"depth": (".depth.npy",)}``.
    """

    suffixes: tuple[str, ...]
    sidecars: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Pipeline:
    """A pipeline: its parameters, its input, and its chain of stages as a function of the parameters.

    Attributes:
        name: of the block in ``spec``, such as ``vistadream``.
        kind: custom resource that it belongs to.
        params: pydantic model of the block.
        input: what counts as a sample.
        stages: pure function from parameters to the chain, in the order in which it runs.
        reporter: ``module:Class`` of the :class:`~scenewright_stages.contract.stage.Reporter`.
    """

    name: str
    kind: Literal["SceneJob", "DatasetJob", "TuningRun"]
    params: type[Params]
    input: InputKind
    stages: Callable[[Any], tuple[StageSpec, ...]]
    reporter: str = ""

    def parse(self, block: dict[str, Any]) -> Params:
        """The typed parameters of a block as written in a manifest; raises pydantic's ValidationError."""
        return self.params.model_validate(block)
