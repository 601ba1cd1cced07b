"""Pipelines and stages as data: what the planner, the worker, the API and the reports all read.

A pipeline is one folder with a light `pipeline.py` that holds a :class:`Pipeline`; everything else about it follows
from there. Nothing here knows the name of a pipeline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from scenewright_stages.contract.backends import BackendFacts
from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.inputs import InputKind
from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.samples import WHOLE_LEVEL, Expansion, Sample

Kind = Literal["SceneJob", "DatasetJob", "TuningRun"]
INPUT = "input"
"""Name that stages use for the job's own input among what they read."""


@dataclass(frozen=True)
class Read:
    """What a stage reads of one upstream stage, or of the job's input.

    Attributes:
        stage: the upstream stage, or ``input``.
        outputs: names of its outputs (of the input: roles of its files); all of them when empty.
        of: whose outputs: of the sample itself (or of the one that it was expanded from), of all its siblings (the
            children of its parent, itself included), or of all its children, which gathers them.
        at_least: of siblings or children, how many must be done; None for all of them. The others are left out.
        part: name of the attribute that says which file of an output of many files the sample reads. It then depends
            on that file alone, and not on the parameters of the stage that made it.
    """

    stage: str
    outputs: tuple[str, ...] = ()
    of: Literal["own", "siblings", "children"] = "own"
    at_least: int | None = None
    part: str = ""


@dataclass(frozen=True)
class NamedInput:
    """An input beside the job's own: the publication of another object, one file of it, or a prefix in storage.

    Attributes:
        name: what stages call it.
        uri: where it is, when the manifest says so.
        kind, object: the object of the same namespace whose publication it is.
        chosen: which of the files that the publication offers by name; empty for all of it.
        include: glob patterns of the files that stages see; all of them when empty.
        field: path of the manifest's field that names it, for messages.
    """

    name: str
    uri: str = ""
    kind: Kind | Literal[""] = ""
    object: str = ""
    chosen: str = ""
    include: tuple[str, ...] = ()
    field: str = ""


@dataclass(frozen=True)
class Ask:
    """A question to a person: the stage waits for its answer, without any process.

    Attributes:
        path: of the answer below the output prefix, beside the candidates; a path template as of outputs.
        options: names of what has to be chosen, each with the allowed answers; a pure function of the sample. Of a
            sample with none nothing is asked.
        text: the question, in one sentence.
    """

    path: str
    options: Callable[[Sample], Mapping[str, Sequence[str]]]
    text: str


@dataclass(frozen=True)
class SecretKey:
    """One key of a Secret that a stage's process finds in its environment."""

    secret: str
    key: str
    variable: str


@dataclass(frozen=True)
class Resources:
    """What a Pod of the stage asks for: CPU cores, memory and scratch in GiB, GPUs of each process and their memory."""

    cpu: float = 2.0
    memory_gib: float = 4.0
    scratch_gib: float = 8.0
    gpus: int = 0
    gpu_memory_gib: float = 0.0


IMAGES = ("cpu", "gaussians", "perception", "diffusion")
"""The stage images. Each one holds what the ones before it hold; only the first has nothing for GPUs."""
CPU_IMAGE = IMAGES[0]


@dataclass(frozen=True)
class StageSpec:
    """One stage of a pipeline.

    Attributes:
        name: unique in the pipeline, a DNS label.
        version: raised when the code or a default changes what comes out.
        implementation: ``module:Class`` of the :class:`~scenewright_stages.contract.stage.Stage`.
        reads: upstream stages and outputs. The stage gets the files that it declares here and no others.
        outputs: contracts of the files that it writes.
        parameters: dotted paths of the parameters that its results depend on, or of properties that follow from them.
        attributes: names of the sample's attributes that it reads; they are part of the sample's fingerprint.
        inputs: names of the named inputs that it reads.
        keyed_by: stages that it does not read and whose keys nevertheless are part of its own.
        image: name of the stage image that it needs on a GPU: one of `IMAGES`, or the pipeline's own.
        backends: backend in use by capability, such as ``{"depth": "classic"}``.
        backend_parameters: dotted path of the parameter that names the backend, by capability.
        weight_parameters: the same of a parameter that only has variant and revision of a backend beside it
            (``refine`` with ``refine_variant``), and that an override of the stage's backend leaves alone.
        alternatives: further backends by capability, in order: the next one serves where one is not available, and
            the record says which did.
        expands: makes children of the samples that the stage reads; it and all stages below work on those.
        asks: what a person has to answer before a sample can run.
        keeps_state: whether `process` saves and resumes state of its own, so that a lost process costs one interval.
        processes: processes that work on one sample together, one for each GPU of the Pod.
        threads: how many samples the stage's code works on at a time, each in a thread of its own; 0: one for each
            CPU. With more than 1 its `process` must be safe to call from several threads.
        secret: a Secret's key that its process needs.
        egress: name of the chart's address range that its Pods may reach besides the storage.
        resources: what one Pod asks for.
        seconds_per_sample: rough duration, from which shard sizes follow.
    """

    name: str
    version: int
    implementation: str
    reads: tuple[Read, ...]
    outputs: tuple[OutputContract, ...]
    parameters: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    keyed_by: tuple[str, ...] = ()
    image: str = CPU_IMAGE
    backends: dict[str, str] = field(default_factory=dict)
    backend_parameters: dict[str, str] = field(default_factory=dict)
    weight_parameters: dict[str, str] = field(default_factory=dict)
    alternatives: dict[str, tuple[str, ...]] = field(default_factory=dict)
    expands: Expansion | None = None
    asks: Ask | None = None
    keeps_state: bool = False
    processes: int = 1
    threads: int = 1
    secret: SecretKey | None = None
    egress: str = ""
    resources: Resources = Resources()
    seconds_per_sample: float = 60.0
    title: str = ""

    def upstream(self) -> tuple[str, ...]:
        """Names of the stages that this one reads, without the job's input, each once."""
        return tuple(dict.fromkeys(read.stage for read in self.reads if read.stage != INPUT))

    @property
    def gpus(self) -> int:
        """GPUs of one Pod: those of all its processes."""
        return self.processes * self.resources.gpus

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


NO_INPUT = InputKind()


def no_inputs(params: Any) -> tuple[NamedInput, ...]:
    """Of pipelines that have nothing but the job's own input."""
    return ()


@dataclass(frozen=True)
class Pipeline:
    """A pipeline: its parameters, its input, and its chain of stages as a function of the parameters.

    Attributes:
        name: of the block in ``spec``, such as ``vistadream``.
        kind: custom resource that it belongs to.
        params: pydantic model of the block.
        input: what counts as a sample. The single sample of a TuningRun has no files.
        stages: pure function from parameters to the chain, in the order in which it runs.
        inputs: pure function from parameters to the named inputs. A TuningRun also has ``dataset``.
        uri_parameters: dotted paths of the parameters that hold a URI; the command line makes relative paths absolute.
        entry_parameters: dotted paths of the parameters that an entry of the input may set for its own samples;
            never backends or resources.
        retries_per_sample: ``execution.retries.perSample`` where a manifest leaves it out.
        reporter: ``module:Class`` of the :class:`~scenewright_stages.contract.stage.Reporter`.
        sample_pages: whether every sample has a page of its own; False: one page over the whole data set.
        catalogue: ``module:function`` that takes a :class:`~scenewright_stages.contract.stage.Catalogue` and returns
            further files of the publication by path: bytes, or
            :class:`~scenewright_stages.contract.stage.Dated` where they hold times.
        chosen: ``module:function`` that takes a Catalogue and returns paths of published files by name, which other
            objects may refer to, such as the best checkpoint.
        hosts: folders below the output, each with a trailing ``/``, in which other objects may publish; they are
            neither input nor ever deleted.
        backends: backends that the pipeline brings along; the registry lists them beside the built-in ones.
        examples: blocks of parameters, besides the defaults, that together use every stage that there is.
        defaults: frozen defaults by stage: ``{"version": 2, "defaults": {...}}``; filled in where the pipeline is
            found, from ``defaults.json`` beside its module.
    """

    name: str
    kind: Kind
    params: type[Params]
    stages: Callable[[Any], tuple[StageSpec, ...]]
    input: InputKind = NO_INPUT
    inputs: Callable[[Any], tuple[NamedInput, ...]] = no_inputs
    uri_parameters: tuple[str, ...] = ()
    entry_parameters: tuple[str, ...] = ()
    retries_per_sample: int = 1
    reporter: str = ""
    sample_pages: bool = True
    catalogue: str = ""
    chosen: str = ""
    hosts: tuple[str, ...] = ()
    backends: tuple[BackendFacts, ...] = ()
    examples: tuple[Mapping[str, Any], ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def sample_blocks(self) -> tuple[Mapping[str, Any], ...]:
        """Blocks that together use every stage: the defaults, unless a field is required, and the examples."""
        required = any(each.is_required() for each in self.params.model_fields.values())
        return self.examples if required else ({}, *self.examples)

    def parse(self, block: Mapping[str, Any]) -> Params:
        """The typed parameters of a block as written in a manifest; raises pydantic's ValidationError."""
        return self.params.model_validate(block)


def stage_levels(stages: Sequence[StageSpec]) -> dict[str, int]:
    """Level of every stage by name: 0 for indexed samples, one more below each expansion, -1 for the whole job.

    A stage that gathers works on the parents of what it gathers, unless it also reads something of a lower level.

    Raises:
        ConfigurationError: the reads contradict each other, or two stages expand the same samples.
    """
    levels: dict[str, int] = {}
    expanding: dict[int, str] = {}
    for stage in stages:
        level = _level(stage, levels)
        if stage.expands is not None:
            level += 1
            if other := expanding.get(level):
                raise ConfigurationError("stages", stage.name, f"expands the same samples as {other}")
            expanding[level] = stage.name
        _check_reads(stage, level, levels)
        levels[stage.name] = level
    return levels


def expansions(stages: Sequence[StageSpec]) -> tuple[Expansion, ...]:
    """The expansions of a chain, in order."""
    return tuple(stage.expands for stage in stages if stage.expands is not None)


def _level(stage: StageSpec, levels: Mapping[str, int]) -> int:
    own = [levels.get(read.stage, 0) for read in stage.reads if read.of != "children"]
    if own:
        return max(own)
    gathered = [levels[read.stage] for read in stage.reads]
    return max(WHOLE_LEVEL, min(gathered) - 1) if gathered else 0


def _check_reads(stage: StageSpec, level: int, levels: Mapping[str, int]) -> None:
    fits = {
        "own": lambda read: read <= level,
        "siblings": lambda read: read == level > 0,
        "children": lambda read: read > level,
    }
    families = [read.stage for read in stage.reads if read.of != "own"]
    for read in stage.reads:
        if not fits[read.of](levels.get(read.stage, 0)):
            raise ConfigurationError("stages", stage.name, f"cannot read {read.stage} of {read.of} at its level")
        if families.count(read.stage) > 1:
            raise ConfigurationError(
                "stages", stage.name, f"reads {read.stage} of {read.of} twice: name all outputs at once"
            )
