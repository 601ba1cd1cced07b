"""The three kinds: SceneJob, DatasetJob and TuningRun.

The model of a kind's `spec` is created at runtime from the fields below and one block for each installed pipeline of
that kind. Nothing here names a pipeline.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, create_model

from scenewright.api import patterns
from scenewright.api.execution import Execution
from scenewright.api.raw import Json
from scenewright.api.scheduling import Models, Scheduling
from scenewright.api.storage import MAXIMUM_URI_LENGTH, NO_PARENTS, Input, Output, Storage
from scenewright.api.uris import contains, normalised
from scenewright_stages.contract.params import Params, Rule
from scenewright_stages.contract.pipeline import Kind, Pipeline
from scenewright_stages.pipelines import pipelines

MAXIMUM_NAME_LENGTH = 63

OUTPUT_OUTSIDE_INPUT = Rule(
    "output.uri",
    "!(self.output.uri + '/').startsWith(self.input.uri + (self.input.uri.endsWith('/') ? '' : '/'))",
    "must not be the input nor lie inside it: the next run would read its own results",
    # CEL compares the texts; here the places count, however they are written.
    lambda spec: not contains(normalised(spec.input.uri), normalised(spec.output.uri)),
    ({"input": {"uri": "s3://photos/in"}, "output": {"uri": "s3://photos/in/out"}},),
)


Value = Annotated[int, Field(ge=-(2**53), le=2**53)] | Annotated[str, Field(max_length=128)]


class ObjectMeta(BaseModel):
    """The part of an object's metadata that the CLI uses; other fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = Field(min_length=1, max_length=MAXIMUM_NAME_LENGTH, pattern=patterns.OBJECT_NAME)
    namespace: str = Field(default="", max_length=63)
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Best(Params):
    """How the children of a sweep are compared."""

    metric: str = Field(
        min_length=1, max_length=64, description="A measurement that a stage shows, such as validation_psnr."
    )
    goal: Literal["Maximize", "Minimize"] = Field(default="Maximize", description="Which values are better.")

    def score(self, value: float) -> float:
        """Higher is better, whatever the goal."""
        return value if self.goal == "Maximize" else -value


class Matrix(Params):
    """A sweep: one child object for each combination of the parameters, with its output in a folder of this one's."""

    parameters: dict[str, Annotated[list[Value], Field(min_length=1, max_length=16)]] = Field(
        min_length=1,
        max_length=4,
        description="Values by path, such as {fixer.learningRate: ['1e-4', '2e-5'], execution.seed: [1, 2]}. Texts "
        "are read as YAML, as with `scenewright run --set`.",
    )
    best: Best | None = None


class CommonSpec(Params):
    """Fields that all three kinds share."""

    output: Output
    storage: Storage = Storage()
    execution: Execution = Execution()
    models: Models = Models()
    scheduling: Scheduling = Scheduling()
    matrix: Matrix | None = None
    managed_by: str | None = Field(
        default=None,
        max_length=63,
        pattern=r"^[a-z0-9.-]+/[a-z0-9A-Z._-]+$",
        description="Another controller that runs this object, such as kueue.x-k8s.io/multikueue; this cluster's "
        "operator then leaves it alone. Unset: scenewright.io/operator.",
    )
    suspend: bool = Field(
        default=False, description="Deletes the running Jobs and starts none; results are kept. False resumes."
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=31_536_000,
        description="Deletes the object this many seconds after its end; results stay. Unset: never.",
    )


class JobSpec(CommonSpec):
    """Fields that SceneJob and DatasetJob share."""

    input: Input

    rules: ClassVar[tuple[Rule, ...]] = (OUTPUT_OUTSIDE_INPUT,)


class SceneJobSpec(JobSpec):
    """Images become 3D scenes; exactly one pipeline block says how."""


class DatasetJobSpec(JobSpec):
    """Inputs become an image dataset; exactly one pipeline block says how."""


class DatasetReference(Params):
    """The dataset that a run is trained on: a DatasetJob of the same namespace, or a prefix."""

    dataset_job: str = Field(
        default="",
        max_length=MAXIMUM_NAME_LENGTH,
        pattern=patterns.OPTIONAL_OBJECT_NAME,
        description="Name of a DatasetJob; the run waits until that is Complete.",
    )
    uri: str = Field(
        default="", max_length=MAXIMUM_URI_LENGTH, pattern=patterns.OPTIONAL_URI, description="A published dataset."
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "datasetJob",
            "(self.datasetJob != '') != (self.uri != '')",
            "exactly one of datasetJob and uri is needed",
            lambda block: bool(block.dataset_job) != bool(block.uri),
            ({}, {"datasetJob": "pairs", "uri": "s3://pairs/one"}),
        ),
        NO_PARENTS,
    )


class TuningRunSpec(CommonSpec):
    """A model is tuned on a dataset; exactly one trainer block says how."""

    dataset: DatasetReference


SpecT = TypeVar("SpecT", bound=CommonSpec)


class Manifest(BaseModel, Generic[SpecT]):
    """A whole object as in a manifest file; ``status`` is ignored."""

    model_config = ConfigDict(alias_generator=Params.model_config["alias_generator"], extra="forbid", frozen=True)

    api_version: Literal["scenewright.io/v1alpha1", "scenewright.io/v1beta1"]
    kind: Literal["SceneJob", "DatasetJob", "TuningRun"]
    metadata: ObjectMeta
    spec: SpecT
    status: Json = Field(default_factory=dict)


_BASES: dict[Kind, type[CommonSpec]] = {
    "SceneJob": SceneJobSpec,
    "DatasetJob": DatasetJobSpec,
    "TuningRun": TuningRunSpec,
}
KINDS: tuple[Kind, ...] = tuple(_BASES)


@cache
def spec_model(kind: Kind, *, built_in: bool = False) -> type[CommonSpec]:
    """Model of ``spec``: the kind's own fields and a block for each of its pipelines, or of the built-in ones only."""
    base = _BASES[kind]
    blocks = pipelines(kind, built_in=built_in)
    fields: Json = {name: (each.params | None, None) for name, each in blocks.items()}
    model = create_model(base.__name__, __base__=base, __doc__=base.__doc__, **fields)
    if blocks:
        terms = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in blocks)
        exactly_one = Rule(
            next(iter(blocks)),
            f"{terms} == 1",
            f"exactly one pipeline block is needed: {', '.join(blocks)}",
            lambda spec: sum(getattr(spec, name) is not None for name in blocks) == 1,
            ({},),
        )
        model.rules = (*base.rules, exactly_one)
    return model


@cache
def manifest_model(kind: Kind) -> type[Manifest[Any]]:
    """Model of a whole object of a kind."""
    return cast(type[Manifest[Any]], Manifest[spec_model(kind)])  # type: ignore[misc]


def given_pipeline(kind: Kind, spec: CommonSpec) -> Pipeline | None:
    """The pipeline whose block is in the spec; None if no pipeline of the kind is installed."""
    return next((each for name, each in pipelines(kind).items() if getattr(spec, name, None) is not None), None)
