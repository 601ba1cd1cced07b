"""Builds the task of a stage process from a plan. Tasks are the same on a laptop and in a cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from scenewright.api.kinds import JobSpec
from scenewright.api.raw import Json
from scenewright.planning.inputs import task_inputs
from scenewright.planning.plan import Plan
from scenewright_stages.contract.task import Selection, Task, TaskInput, TaskModels, TaskOutput


@dataclass(frozen=True)
class RunSettings:
    """Settings of one run that are not part of the object.

    Attributes:
        run: id of the run.
        holder: who holds the output's lock.
        model_cache: folder of the model cache as the processes see it.
        device: ``cpu``, ``cuda`` or ``auto``.
        retry_failed: retry samples that failed before.
        force: run the selected stages even if they are up to date.
        processes_per_gpu: shards of a stage that share a GPU when this machine runs them; Pods have GPUs of their own.
        facts: further entries for ``job.json``, such as the number of threads.
    """

    run: str
    holder: str
    model_cache: str = ""
    device: str = "auto"
    retry_failed: bool = False
    force: bool = False
    processes_per_gpu: int = 1
    facts: Json = field(default_factory=dict)


def task_of(plan: Plan, settings: RunSettings, step: str, shards: int = 1, **flags: Any) -> Task:
    """The task of a step; `flags` are ``fold_index``, ``fold_publish``, ``plan_only``, ``retry_failed``, ``force``."""
    spec = plan.spec
    execution = spec.execution
    given = spec.input if isinstance(spec, JobSpec) else None
    return Task(
        kind=plan.kind,
        name=plan.name,
        namespace=plan.namespace,
        pipeline=plan.pipeline.name,
        parameters=plan.parameters.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        step=step,
        run=settings.run,
        work_hash=plan.work_hash,
        keys=dict(plan.keys),
        input=TaskInput(uri=given.uri, select=Selection(**given.select.model_dump())) if given else None,
        inputs=task_inputs(plan.inputs, plan.resolved),
        output=TaskOutput(uri=spec.output.uri, prune=spec.output.prune),
        seed=execution.seed,
        select_stages=list(plan.selected),
        shards=shards,
        samples_per_shard=execution.samples_per_shard,
        retries=plan.retries,
        on_sample_error=execution.on_sample_error,
        max_failed_samples=execution.max_failed_samples,
        sample_timeout_seconds=float(execution.sample_timeout_seconds),
        models=TaskModels(cache=settings.model_cache, device=settings.device, accept_licenses=plan.usable_licences),
        holder=settings.holder,
        job={**plan.effective_object(), **settings.facts},
        **{"retry_failed": settings.retry_failed, "force": settings.force, **flags},
    )


def task_text(task: Task) -> str:
    """The task as JSON for its environment."""
    return task.model_dump_json(by_alias=True, exclude_defaults=True)
