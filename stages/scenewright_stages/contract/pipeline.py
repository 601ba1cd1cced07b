"""Pipelines and stages as data, read by the planner, the worker, the API and the reports.

A pipeline is one folder whose light `pipeline.py` defines a :class:`Pipeline`; everything else is derived from that.
This module knows no pipeline by name.
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
    """What a stage reads from one upstream stage, or from the job's input.

    Attributes:
        stage: the upstream stage, or ``input``.
        outputs: names of its outputs (for the input: roles of its files); empty for all of them.
        of: whose outputs: those of the sample itself (or its ancestor), of all its siblings (the children of its
            parent, itself included), or of all its children, which gathers them.
        at_least: how many siblings or children must be done; None for all. Those that are not done are left out.
        part: name of the attribute that selects one file of a multi-file output. The sample then depends on that file
            alone, not on the parameters of the stage that made it.
    """

    stage: str
    outputs: tuple[str, ...] = ()
    of: Literal["own", "siblings", "children"] = "own"
    at_least: int | None = None
    part: str = ""


@dataclass(frozen=True)
class NamedInput:
    """An additional input: another object's publication, one file of it, or a prefix in storage.

    Attributes:
        name: what stages call it.
        uri: its location, if the manifest gives one.
        kind, object: the object in the same namespace whose publication it is.
        chosen: name of one file that the publication offers; empty for the whole publication.
        include: glob patterns of the files that stages see; empty for all.
        field: path of the manifest field that names it, for messages.
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
    """A question to a person. The stage waits for the answer; no process runs meanwhile.

    Attributes:
        path: template of the answer's path below the output prefix, beside the candidates; see `OutputContract.path`.
        options: pure function from the sample to its choices, each with the allowed answers. A sample without choices
            needs no answer.
        text: the question, in one sentence.
    """

    path: str
    options: Callable[[Sample], Mapping[str, Sequence[str]]]
    text: str


@dataclass(frozen=True)
class SecretKey:
    """One key of a Secret that the stage's process gets as an environment variable."""

    secret: str
    key: str
    variable: str


@dataclass(frozen=True)
class Resources:
    """Resource requests of a stage's Pod: CPU cores, memory and scratch in GiB, GPUs per process and GPU memory."""

    cpu: float = 2.0
    memory_gib: float = 4.0
    scratch_gib: float = 8.0
    gpus: int = 0
    gpu_memory_gib: float = 0.0


IMAGES = ("cpu", "gaussians", "perception", "diffusion")
"""The stage images. Each one holds what the ones before it hold; only the first has nothing for GPUs."""
CPU_IMAGE = IMAGES[0]


@dataclass(frozen=True)
class StageModels:
    """Which backends serve a stage.

    Attributes:
        backends: backend in use by capability, such as ``{"depth": "classic"}``.
        backend_parameters: dotted path of the parameter that names the backend, by capability.
        weight_parameters: like `backend_parameters`, for a parameter that has only a backend's variant and revision
            beside it (``refine`` with ``refine_variant``); overriding the stage's backend does not change it.
        alternatives: fallback backends by capability, in order. The first available one serves; the record names it.
    """

    backends: dict[str, str] = field(default_factory=dict)
    backend_parameters: dict[str, str] = field(default_factory=dict)
    weight_parameters: dict[str, str] = field(default_factory=dict)
    alternatives: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def choices(self) -> list[tuple[str, str]]:
        """Every (capability, backend) that may serve: by capability, then in fallback order."""
        return [
            (capability, name)
            for capability, first in sorted(self.backends.items())
            for name in (first, *self.alternatives.get(capability, ()))
        ]


@dataclass(frozen=True)
class StagePod:
    """What a Pod of a stage needs, and how many samples it works on at a time. None of it is part of a key.

    Attributes:
        image: name of the stage image that it needs on a GPU: one of `IMAGES`, or the pipeline's own.
        resources: what one Pod requests.
        processes: processes that work on one sample together, one per GPU of the Pod.
        threads: how many samples run at a time, each in its own thread; 0 for one per CPU. With more than 1, `process`
            must be thread-safe.
        seconds_per_sample: rough duration; determines the shard size.
        secret: a Secret's key that its process needs.
        egress: name of the chart's address range that its Pods may reach besides the storage.
    """

    image: str = CPU_IMAGE
    resources: Resources = Resources()
    processes: int = 1
    threads: int = 1
    seconds_per_sample: float = 60.0
    secret: SecretKey | None = None
    egress: str = ""

    @property
    def gpus(self) -> int:
        """GPUs of one Pod, summed over its processes."""
        return self.processes * self.resources.gpus


@dataclass(frozen=True)
class StageSpec:
    """One stage of a pipeline.

    Attributes:
        name: unique in the pipeline, a DNS label.
        version: raised whenever code or a default changes the result.
        implementation: ``module:Class`` of the :class:`~scenewright_stages.contract.stage.Stage`.
        reads: upstream stages and outputs. The stage gets only the files that it declares here.
        outputs: contracts of the files that it writes.
        parameters: dotted paths of the parameters, or of properties derived from them, that its results depend on.
        attributes: names of the sample attributes that it reads; they are part of the sample's fingerprint.
        inputs: names of the named inputs that it reads.
        keyed_by: stages whose keys are part of its own although it does not read them.
        expands: function that makes children of the samples; this stage and all below it work on the children.
        asks: what a person must answer before a sample can run.
        keeps_state: whether `process` saves and resumes durable state, so that a lost process costs one interval.
        models: which backends serve it.
        pod: what its Pods need.
        title: for people.
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
    expands: Expansion | None = None
    asks: Ask | None = None
    keeps_state: bool = False
    models: StageModels = StageModels()
    pod: StagePod = StagePod()
    title: str = ""

    def upstream(self) -> tuple[str, ...]:
        """Names of the stages that this one reads, without the job's input, each once."""
        return tuple(dict.fromkeys(read.stage for read in self.reads if read.stage != INPUT))

    def output(self, name: str) -> OutputContract:
        """The contract of the output of that name; KeyError if there is none."""
        for output in self.outputs:
            if output.name == name:
                return output
        raise KeyError(f"stage {self.name} has no output {name!r}")


NO_INPUT = InputKind()


def no_inputs(params: Any) -> tuple[NamedInput, ...]:
    """For pipelines without named inputs."""
    return ()


def no_block(files: Sequence[str]) -> Mapping[str, Any]:
    """The defaults, for pipelines whose parameters do not depend on what kind of files the input holds."""
    return {}


def no_choice(cpus: int, gpus: int) -> Mapping[str, Any]:
    """The defaults on every machine."""
    return {}


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
        block_for: the block for an input that is named without a manifest, from the names of its files.
        uri_parameters: dotted paths of the parameters that hold a URI; the command line makes relative paths absolute.
        entry_parameters: dotted paths of the parameters that an entry of the input may set for its own samples;
            never backends or resources.
        retries_per_sample: default of ``execution.retries.perSample``.
        reporter: ``module:Class`` of the :class:`~scenewright_stages.contract.stage.Reporter`.
        sample_pages: whether every sample has its own page; False for one page over the whole data set.
        catalogue: ``module:function`` that takes a :class:`~scenewright_stages.contract.stage.Catalogue` and returns
            index files of the publication by path: bytes, or :class:`~scenewright_stages.contract.stage.Dated` if they
            contain times.
        partial_catalogue: whether the catalogue also describes samples that lack some stages, because a run selected
            only others. If not, they are no entries of it, and it is not called while nothing is complete.
        chosen: ``module:function`` that takes a Catalogue and returns paths, by name, of published files that other
            objects may refer to, such as the best checkpoint.
        hosts: folders below the output, each with a trailing ``/``, in which other objects may publish; never read as
            input and never deleted.
        backends: backends that the pipeline adds to the registry.
        examples: parameter blocks that, with the defaults, together use every stage.
        photograph_block: pure function from the numbers of CPUs and GPUs of a machine to the block of a photograph that
            is run there without a manifest.
        defaults: frozen defaults by stage: ``{"version": 2, "defaults": {...}}``; loaded from ``defaults.json`` beside
            the pipeline's module.
    """

    name: str
    kind: Kind
    params: type[Params]
    stages: Callable[[Any], tuple[StageSpec, ...]]
    input: InputKind = NO_INPUT
    inputs: Callable[[Any], tuple[NamedInput, ...]] = no_inputs
    block_for: Callable[[Sequence[str]], Mapping[str, Any]] = no_block
    uri_parameters: tuple[str, ...] = ()
    entry_parameters: tuple[str, ...] = ()
    retries_per_sample: int = 1
    reporter: str = ""
    sample_pages: bool = True
    catalogue: str = ""
    partial_catalogue: bool = False
    chosen: str = ""
    hosts: tuple[str, ...] = ()
    backends: tuple[BackendFacts, ...] = ()
    examples: tuple[Mapping[str, Any], ...] = ()
    photograph_block: Callable[[int, int], Mapping[str, Any]] = no_choice
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def sample_blocks(self) -> tuple[Mapping[str, Any], ...]:
        """Blocks that together use every stage: the examples, and the defaults unless a field is required."""
        required = any(each.is_required() for each in self.params.model_fields.values())
        return self.examples if required else ({}, *self.examples)

    def parse(self, block: Mapping[str, Any]) -> Params:
        """The typed parameters of a block as written in a manifest; raises pydantic's ValidationError."""
        return self.params.model_validate(block)


def stage_levels(stages: Sequence[StageSpec]) -> dict[str, int]:
    """Level of every stage by name: 0 for indexed samples, one more after each expansion, -1 for the whole job.

    A stage that gathers works on the parents of what it gathers, unless it also reads from a deeper level.

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
