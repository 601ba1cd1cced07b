"""The status of an object: a summary of limited size; complete lists are in the storage."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from scenewright.api.raw import Json
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.reports import MAXIMUM_NUMBERS

Phase = Literal["Pending", "Waiting", "Indexing", "Running", "Publishing", "Suspended", "Complete", "Failed"]
ENDS: tuple[Phase, ...] = ("Complete", "Failed")
"""Final phases: only new work leaves them."""
ACTIVE: tuple[Phase, ...] = ("Indexing", "Running", "Publishing")
"""Phases in which Pods of the object may run."""


def rate_text(samples_per_minute: float) -> str:
    """At least three digits, without an exponent: "1.83/min", "1830/min"."""
    return f"{samples_per_minute:.0f}/min" if samples_per_minute >= 100 else f"{samples_per_minute:.3g}/min"


def number_texts(measured: Mapping[str, float]) -> list[str]:
    """``loss 0.0123`` for each measurement of a stage."""
    return [f"{name} {value:.4g}" for name, value in measured.items()]


class Condition(Params):
    """One observation in the usual Kubernetes form."""

    type: Literal["Accepted", "Progressing", "Waiting", "Suspended", "Complete", "Failed", "Finished", "Warning"] = (
        Field(description="What is observed.")
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    observed_generation: int = Field(default=0, ge=0, description="Generation of the spec that it is about.")
    last_transition_time: str = Field(default="", max_length=40, description="When it last changed (RFC 3339).")
    reason: str = Field(default="", max_length=128, description="CamelCase reason for programs.")
    message: str = Field(default="", max_length=1024, description="Explanation for people.")


class _Ends(Params):
    """Samples of a stage by how they ended."""

    done: int = Field(default=0, ge=0, description="Samples with valid results.")
    failed: int = Field(default=0, ge=0, description="Samples that failed.")
    skipped: int = Field(default=0, ge=0, description="Samples without their upstream result.")
    rejected: int = Field(default=0, ge=0, description="Of the skipped ones, those that a rule of the stage left out.")
    awaiting: int = Field(default=0, ge=0, description="Samples that wait for a person's choice.")
    not_selected: int = Field(
        default=0, ge=0, description="Samples that are not up to date in a stage that the run does not select."
    )


class SampleCounts(_Ends):
    """Samples of one stage."""

    total: int = Field(default=0, ge=0, description="All samples of the stage.")


class IndexedCounts(_Ends):
    """Samples of a stage before this pass, as the index step counted them."""

    todo: int = Field(default=0, ge=0, description="Samples to process in this pass.")


class UnitStatus(Params):
    """How the units of the publication ended: the numbers of its summary and its pages."""

    total: int = Field(default=0, ge=0, description="All units.")
    done: int = Field(default=0, ge=0, description="Units that are done in all selected stages that concern them.")
    failed: int = Field(default=0, ge=0, description="Units that failed or could not be made.")
    rejected: int = Field(default=0, ge=0, description="Units that a rule of the pipeline left out.")
    waiting: int = Field(default=0, ge=0, description="Units that wait for a person's choice.")
    not_selected: int = Field(default=0, ge=0, description="Units that no selected stage makes.")
    missing: int = Field(default=0, ge=0, description="Units that another pass goes over.")


class ShardCounts(Params):
    """Shards of one stage; a shard is one Pod's work."""

    total: int = Field(default=0, ge=0, description="All shards of the stage in this run.")
    running: int = Field(default=0, ge=0, description="Shards whose Pod runs.")
    done: int = Field(default=0, ge=0, description="Shards that succeeded.")
    failed: int = Field(default=0, ge=0, description="Shards that were given up.")


class StageStatus(Params):
    """One stage of the current run."""

    name: str = Field(max_length=32, description="Name of the stage.")
    state: Literal["Pending", "Waiting", "Running", "UpToDate", "NotSelected", "Done", "Failed"] = Field(
        default="Pending", description="State of the stage."
    )
    indexed: IndexedCounts = IndexedCounts()
    samples: SampleCounts = SampleCounts()
    shards: ShardCounts = ShardCounts()
    started_at: str = Field(default="", max_length=40, description="When its first Pod started (RFC 3339).")
    finished_at: str = Field(default="", max_length=40, description="When it ended (RFC 3339).")
    gpu_seconds: float = Field(default=0.0, ge=0.0, description="Seconds for which its Pods held GPUs.")
    gpu_busy_seconds: float = Field(
        default=0.0, ge=0.0, description="Of these, seconds in which samples ran; in the others the GPUs waited."
    )
    samples_per_minute: float = Field(default=0.0, ge=0.0, description="Recent rate.")
    numbers: dict[str, float] = Field(
        default_factory=dict,
        max_length=MAXIMUM_NUMBERS,
        description="Measurements of the stage while it runs, such as a loss.",
    )
    eta: str = Field(default="", max_length=40, description="Expected end (RFC 3339).")


class FailureStatus(Params):
    """One failed sample."""

    sample: str = Field(max_length=200, description="Id of the sample.")
    stage: str = Field(max_length=32, description="Stage in which it failed.")
    reason: str = Field(default="", max_length=64, description="CamelCase class of the failure.")
    message: str = Field(default="", max_length=300, description="What happened and what to do.")


class Outputs(Params):
    """Where the results are."""

    results: str = Field(default="", max_length=1024, description="Prefix of the published results.")
    records: str = Field(default="", max_length=1024, description="Prefix of the records.")
    logs: str = Field(default="", max_length=1024, description="Prefix of the logs.")
    report: str = Field(default="", max_length=1024, description="The report page.")


class InputStatus(Params):
    """Another object's publication as it was when the current run started."""

    name: str = Field(max_length=63, description="Name of the input.")
    object: str = Field(max_length=300, description="The other object, such as DatasetJob/pairs.")
    uri: str = Field(max_length=1024, description="Its output.")
    hash: str = Field(max_length=64, description="Hash of its publication, or of the chosen file.")
    path: str = Field(default="", max_length=1024, description="The chosen file in the output; empty for all files.")


class Writing(Params):
    """Where the Jobs of a run write."""

    place: str = Field(
        default="", max_length=1400, description="The output, with namespace and name of the Secret if there is one."
    )
    hosts: list[Annotated[str, Field(max_length=200)]] = Field(
        default_factory=list, max_length=8, description="Folders in it that are reserved for other objects."
    )


class Forecast(Params):
    """What the current pass will take, by the catalogue's seconds per sample."""

    gpu_hours: float = Field(default=0.0, ge=0.0, description="GPU hours of all stages.")
    wall_seconds: float = Field(default=0.0, ge=0.0, description="Seconds, if all Pods start at once.")


class Spent(Params):
    """What earlier passes and runs of the same work have used; kept only for objects with a budget."""

    gpu_seconds: float = Field(default=0.0, ge=0.0, description="GPU time of stages that the status no longer has.")
    wall_seconds: float = Field(default=0.0, ge=0.0, description="Time of runs that have ended or rest.")


class Admission(Params):
    """Where Kueue has admitted an object's stages; empty for objects whose stages queue one by one."""

    workload: str = Field(default="", max_length=63, description="Uid of the admitted Workload.")
    node_selector: dict[str, Annotated[str, Field(max_length=63)]] = Field(
        default_factory=dict, max_length=32, description="Node labels of its flavors."
    )
    tolerations: list[Json] = Field(default_factory=list, max_length=32, description="Of its flavors.")


class SweptChild(Params):
    """One combination of a sweep's parameters."""

    name: str = Field(max_length=63, description="Name of the child object.")
    parameters: dict[str, Annotated[str, Field(max_length=128)]] = Field(
        default_factory=dict, max_length=8, description="Its values by parameter."
    )
    phase: str = Field(default="", max_length=16, description="Phase of the child.")
    progress: str = Field(default="", max_length=32, description="Its finished samples and all.")
    metric: float | None = Field(default=None, description="The compared measurement, once there is one.")


class Sweep(Params):
    """The children of an object with a matrix, as one table."""

    children: list[SweptChild] = Field(default_factory=list, max_length=64, description="In the order of the matrix.")
    best: str = Field(default="", max_length=63, description="Name of the best complete child.")


class Publication(Params):
    """What other objects may refer to."""

    hash: str = Field(default="", max_length=64, description="Hash of all that was published.")
    chosen: dict[str, Annotated[str, Field(max_length=1100)]] = Field(
        default_factory=dict,
        max_length=4,
        description="Files that the pipeline publishes by name, as path@hash.",
    )


LabValue = Annotated[str, Field(max_length=4096)]


class Effective(Params):
    """What is in effect after defaults and overrides; job.json in the output has it in full."""

    work_hash: str = Field(default="", max_length=32, description="Hash of everything that determines the results.")
    parameters_hash: str = Field(default="", max_length=32, description="Hash of the effective pipeline parameters.")
    defaults: dict[str, LabValue] = Field(
        default_factory=dict,
        max_length=64,
        description="Values from the lab's defaults when the work began, as JSON by path below spec.",
    )


class Status(Params):
    """What the operator has observed; never above 32 KiB."""

    observed_generation: int = Field(default=0, ge=0, description="Generation of the spec that was acted upon.")
    phase: Phase = Field(default="Pending", description="Summary of the conditions for people.")
    reason: str = Field(default="", max_length=128, description="Why it waits, is suspended or has failed; else empty.")
    message: str = Field(
        default="",
        max_length=80,
        description="Explanation of the reason, cut to one line; while a stage runs, measurements such as a loss.",
    )
    pipeline: str = Field(default="", max_length=32, description="Pipeline block in use.")
    stage: str = Field(default="", max_length=32, description="Running stage.")
    progress: str = Field(
        default="", max_length=32, description="Finished samples and all samples over all stages, such as 37/96."
    )
    failed: int = Field(default=0, ge=0, description="Samples that failed, rejected inputs among them.")
    rejected: int = Field(default=0, ge=0, description="Inputs that the index step rejected.")
    samples: UnitStatus = UnitStatus()
    rate: str = Field(default="", max_length=32, description="Samples per minute of the running stage.")
    run: str = Field(default="", max_length=63, description="Id of the current run.")
    passes: int = Field(default=0, ge=0, description="Passes over the current work so far.")
    starts: int = Field(default=0, ge=0, description="Runs started so far; the last part of the run's id.")
    restarts: int = Field(
        default=0, ge=0, description="How often this run repeated a failed CPU step, or a lost Job or report."
    )
    clearing: bool = Field(default=False, description="The Jobs of a pass are being removed before the next one.")
    plan_only: bool = Field(default=False, description="This run only counts the samples.")
    retry_failed: bool = Field(default=False, description="The first pass of this work retries failed samples.")
    started_at: str = Field(default="", max_length=40, description="When the current run began (RFC 3339).")
    finished_at: str = Field(default="", max_length=40, description="When the work ended (RFC 3339).")
    effective: Effective = Effective()
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="Observations by type.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    stages: list[StageStatus] = Field(default_factory=list, max_length=16, description="Stages of the current run.")
    failures: list[FailureStatus] = Field(
        default_factory=list, max_length=20, description="The first failures; all of them are in dropped.csv."
    )
    warnings: list[Annotated[str, Field(max_length=200)]] = Field(
        default_factory=list, max_length=10, description="Warnings for the user that are not failures."
    )
    outputs: Outputs = Outputs()
    publication: Publication = Publication()
    writing: Writing = Writing()
    forecast: Forecast | None = None
    spent: Spent | None = None
    admission: Admission | None = None
    sweep: Sweep | None = None
    inputs: list[InputStatus] = Field(
        default_factory=list,
        max_length=8,
        description="What other objects had published when the current run started.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    retry_tokens: list[Annotated[str, Field(max_length=63)]] = Field(
        default_factory=list,
        max_length=10,
        description="Retry tokens seen so far, the current one last; a token seen before starts nothing.",
    )


def read_status(raw: Mapping[str, object]) -> Status:
    """The status of a raw object. Drops fields and values that this version of the operator does not know."""
    try:
        found = Status.model_validate(raw)
    except ValidationError as error:
        unknown = {str(each["loc"][0]) for each in error.errors(include_url=False) if each["loc"]}
        try:
            found = Status.model_validate({name: value for name, value in raw.items() if name not in unknown})
        except ValidationError:
            found = Status()
    _share_field_sets(found)
    return found


def _share_field_sets(model: Params) -> None:
    """Lets models that state the same fields hold one set of their names.

    The operator keeps the status of every object. With 2,000 objects in flight these sets alone would be 90,000 of 216
    bytes. The models are frozen, so nothing changes a shared set.
    """
    object.__setattr__(model, "__pydantic_fields_set__", _shared(frozenset(model.model_fields_set)))
    for value in model.__dict__.values():
        for each in value if isinstance(value, list) else (value,):
            if isinstance(each, Params):
                _share_field_sets(each)


@lru_cache(maxsize=1024)
def _shared(names: frozenset[str]) -> set[str]:
    return set(names)
