"""The task of a worker process, passed in ``SCENEWRIGHT_TASK``: everything that all shards of a step share."""

from __future__ import annotations

import base64
import os
import zlib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from scenewright_stages.contract.params import Params

ENVIRONMENT = "SCENEWRIGHT_TASK"
SHARD_ENVIRONMENT = "JOB_COMPLETION_INDEX"
QUIT_URLS_ENVIRONMENT = "SCENEWRIGHT_QUIT_URLS"
"""Where the process posts at its end, separated by spaces: containers beside it that would otherwise never end."""
MAXIMUM_TASK_BYTES = 32 * 1024
"""Longest task as plain JSON. A longer one is compressed, and split over several variables."""
_PART_BYTES = 96 * 1024
"""Of one variable; Linux allows 128 KiB."""
_MOST_PARTS = 6
_COMPRESSED = "zlib"


class TaskTooLargeError(ValueError):
    """The spec is so long that its task does not fit into a Pod's environment."""


def task_environment(text: str) -> dict[str, str]:
    """The environment variables that hold a task, given as JSON.

    Raises:
        TaskTooLargeError: it is too large even when compressed.
    """
    if len(text.encode()) <= MAXIMUM_TASK_BYTES:
        return {ENVIRONMENT: text}
    packed = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
    parts = [packed[start : start + _PART_BYTES] for start in range(0, len(packed), _PART_BYTES)]
    if len(parts) > _MOST_PARTS:
        most = _MOST_PARTS * _PART_BYTES
        raise TaskTooLargeError(f"the task has {len(packed)} bytes when compressed, more than {most}")
    named = {f"{ENVIRONMENT}_{number}": part for number, part in enumerate(parts)}
    return {ENVIRONMENT: f"{_COMPRESSED}:{len(parts)}", **named}


def task_in(environment: Mapping[str, str]) -> str | None:
    """The JSON of the task in the environment; None if there is none.

    Raises:
        ValueError: a part is missing or damaged.
    """
    text = environment.get(ENVIRONMENT)
    form, _, count = (text or "").partition(":")
    if form != _COMPRESSED:
        return text
    parts = [environment.get(f"{ENVIRONMENT}_{number}", "") for number in range(int(count))]
    try:
        return zlib.decompress(base64.b64decode("".join(parts), validate=True)).decode()
    except zlib.error as error:
        raise ValueError(f"{ENVIRONMENT}: {error}") from None


MODELS_STEP = "models"
INDEX_STEP = "index"
PUBLISH_STEP = "publish"
PICK_STEP = "pick"


class Selection(Params):
    """Which samples of the input take part; all of them if empty."""

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
    """Retry limits (see ``execution.retries`` in the API)."""

    per_sample: int = 1
    per_shard: int = 3
    passes: int = 2


class TaskModels(Params):
    """Model cache folder inside the process, device, and licences accepted by name."""

    cache: str = ""
    device: str = "auto"
    accept_licenses: list[str] = Field(default_factory=list)


class TaskNamedInput(Params):
    """A named input as resolved when the run started.

    Attributes:
        uri: of a publication, another prefix in storage, or a single file.
        path: of the chosen file of a publication; empty for the whole publication.
        hash: of the publication or that file; empty if the index step must compute it.
        include: glob patterns of the files that stages see; empty for all.
        field: path of the manifest field that names it.
    """

    uri: str
    path: str = ""
    hash: str = ""
    include: list[str] = Field(default_factory=list)
    field: str = ""


class TaskPick(Params):
    """A person's answer for one sample."""

    sample: str
    answer: dict[str, str]


class Task(Params):
    """One step (models, index, a stage, publish or pick) of one run.

    With `fold_index` the first stage's process also indexes; with `fold_publish` the last stage's process also
    publishes. `select_stages` are the stages that may run; all others must be up to date.
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
        """The task of this process; raises KeyError if it is not set, pydantic's ValidationError if it is invalid."""
        return cls.model_validate_json(os.environ[ENVIRONMENT])
