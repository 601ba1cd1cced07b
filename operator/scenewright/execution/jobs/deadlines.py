"""How long a Pod may live at most: the belt for a process that even its own watchdog cannot end."""

from __future__ import annotations

from math import ceil

from scenewright.execution.jobs.request import JobRequest
from scenewright_stages.contract.pipeline import StageSpec

SHARD_SECONDS = 900.0
"""What the worker aims at for a shard whose size the object does not set."""
LOADING_SECONDS = 3600
MAXIMUM_SHARDS = 10_000
MAXIMUM_SECONDS = 2**31 - 1


def pod_deadline(request: JobRequest) -> int | None:
    """Seconds after which the kubelet ends the Pod; above all that its samples may take when every one of them uses
    its whole time at every attempt.

    None for a stage that keeps state: the time of its samples starts again with every state that they save, which
    only the worker knows.
    """
    beside = request.settings.step_deadline_seconds
    if request.stage is None:
        return beside
    if request.stage.keeps_state:
        return None
    execution = request.plan.spec.execution
    attempts = request.plan.retries.per_sample + 1
    seconds = LOADING_SECONDS + _samples_per_shard(request, request.stage) * execution.sample_timeout_seconds * attempts
    folded = request.create.fold_index + request.create.fold_publish
    return min(MAXIMUM_SECONDS, seconds + folded * beside)


def _samples_per_shard(request: JobRequest, stage: StageSpec) -> int:
    size = request.plan.spec.execution.samples_per_shard or ceil(SHARD_SECONDS / max(stage.seconds_per_sample, 1e-3))
    # At the cap, shards are larger than asked for, by a factor that only the index knows.
    return size * 100 if request.create.shards >= MAXIMUM_SHARDS else size
