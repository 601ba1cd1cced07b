"""The task of a worker process: what all shards of a step share (environment ``SCENEWRIGHT_TASK``)."""

from __future__ import annotations

import os
from typing import Any, Literal

from pydantic import Field

from scenewright_stages.contract.params import Params

ENVIRONMENT = "SCENEWRIGHT_TASK"
SHARD_ENVIRONMENT = "JOB_COMPLETION_INDEX"
MAXIMUM_TASK_BYTES = 32 * 1024

MODELS_STEP = "models"
INDEX_STEP = "index"
PUBLISH_STEP = "publish"
PICK_STEP = "pick"


class Selection(Params):
    """Which samples of the input take part; everything when empty."""

    indices: str = Field(default="", max_length=2000, description="Positions in the sorted input, such as 0-9,12.")
    variants: list[str] = Field(
        default_factory=list, max_length=32, description="Names of variants of a dataset folder."
    )
    limit: int | None = Field(default=None, ge=1, description="At most this many samples, in order.")


class TaskInput(Params):
    """Where samples come from."""

    uri: str
    select: Selection = Selection()


class TaskOutput(Params):
    """Where results go."""

    uri: str
    prune: bool = True


class TaskRetries(Params):
    """How often what is tried again (see the API's ``execution.retries``)."""

    per_sample: int = 1
    per_shard: int = 3
    passes: int = 2


class TaskModels(Params):
    """Model cache folder inside the process, device, and licences accepted by name."""

    cache: str = ""
    device: str = "auto"
    accept_licenses: list[str] = Field(default_factory=list)


class TaskNamedInput(Params):
    """A named input as it was resolved when the run started.

    Attributes:
        uri: of a publication, of another prefix in storage, or of a single file.
        path: of the one file of a publication that is meant; empty for all of it.
        hash: of the publication or of that file; empty where the index step has to find it out.
        include: glob patterns of the files that stages see; all of them when empty.
        field: path of the manifest's field that names it.
    """

    uri: str
    path: str = ""
    hash: str = ""
    include: list[str] = Field(default_factory=list)
    field: str = ""


class TaskPick(Params):
    """A person's answer about one sample."""

    sample: str
    answer: dict[str, str]


class Task(Params):
    """One step (models, index, a stage, publish or pick) of one run.

    `fold_index` makes the first stage's process index first; `fold_publish` makes the last stage's process publish
    afterwards. `select_stages` are the stages that may run in this run; the others must be up to date.
    """

    kind: str
    name: str
    namespace: str = ""
    pipeline: str
    parameters: dict[str, Any]
    step: str
    run: str
    work_hash: str
    keys: dict[str, str]
    input: TaskInput | None = None
    inputs: dict[str, TaskNamedInput] = Field(default_factory=dict)
    output: TaskOutput
    seed: int = 42
    select_stages: list[str]
    shards: int = Field(default=1, ge=1)
    samples_per_shard: int | None = None
    retries: TaskRetries = TaskRetries()
    on_sample_error: Literal["Continue", "Fail"] = "Continue"
    max_failed_samples: str | int | None = None
    sample_timeout_seconds: float = 3600.0
    models: TaskModels = TaskModels()
    fold_index: bool = False
    fold_publish: bool = False
    retry_failed: bool = False
    force: bool = False
    plan_only: bool = False
    picks: list[TaskPick] = Field(default_factory=list)
    holder: str = ""
    job: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def from_environment(cls) -> Task:
        """The task of this process; raises pydantic's ValidationError or KeyError when there is none."""
        return cls.model_validate_json(os.environ[ENVIRONMENT])
