"""Pipelines and stages as data: what the planner, the worker and the reports all read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from scenewright_stages.contract.backends import BackendFacts
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
        alternatives: further backends by capability, in order, where the parameters list a chain of them: the next
            one serves where one is not available, and the record says which did.
        expands: endings of the ids of the samples that each of its samples becomes, such as ``("_v0", "_v1")``; this
            stage and all that read it work on those. Empty: one to one.
        threads: how many samples the stage's code works on at a time, each in a thread of its own; 0: one for each
            CPU. With more than 1 its `process` must be safe to call from several threads.
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
    alternatives: dict[str, tuple[str, ...]] = field(default_factory=dict)
    expands: tuple[str, ...] = ()
    threads: int = 1
    resources: Resources = Resources()
    seconds_per_sample: float = 60.0
    title: str = ""

    def upstream(self) -> tuple[str, ...]:
        """Names of the stages that this one reads, without the job's input."""
        return tuple(read.stage for read in self.reads if read.stage != INPUT)

    def backend_choices(self) -> list[tuple[str, str]]:
        """Every (capability, backend) that may serve, by capability and then in the order in which they are asked."""
        return [
            (capability, name)
            for capability, first in sorted(self.backends.items())
            for name in (first, *self.alternatives.get(capability, ()))
        ]

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
        listings: whether a ``.jsonl`` or ``.csv`` file as the input names the samples, one in each line.
    """

    suffixes: tuple[str, ...]
    sidecars: dict[str, tuple[str, ...]] = field(default_factory=dict)
    listings: bool = False


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
        sample_pages: whether every sample has a page of its own; False: one page over the whole data set.
        catalogue: ``module:function`` that takes a :class:`~scenewright_stages.contract.stage.Catalogue` and returns
            further files of the publication, bytes by path.
        backends: backends that the pipeline brings along; the registry lists them beside the built-in ones.
    """

    name: str
    kind: Literal["SceneJob", "DatasetJob", "TuningRun"]
    params: type[Params]
    input: InputKind
    stages: Callable[[Any], tuple[StageSpec, ...]]
    reporter: str = ""
    sample_pages: bool = True
    catalogue: str = ""
    backends: tuple[BackendFacts, ...] = ()

    def parse(self, block: dict[str, Any]) -> Params:
        """The typed parameters of a block as written in a manifest; raises pydantic's ValidationError."""
        return self.params.model_validate(block)
