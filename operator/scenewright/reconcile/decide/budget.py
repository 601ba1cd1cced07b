"""``execution.budget``: what a run has used, and its rest at the limit. Called at each decision about a run.

GPU time counts while a Pod exists, also before its report arrives, so that the limit is met within a sample: the next
decision is due when the running Pods will have used up what is left.
"""

from __future__ import annotations

import math
from datetime import datetime

from scenewright.api.status import Forecast, Spent, Status
from scenewright.planning.plan import Plan
from scenewright.planning.protocol import forecast_of
from scenewright.reconcile.cache.observation import BUDGET_REACHED
from scenewright.reconcile.decide import counts
from scenewright.reconcile.decide.context import (
    DecisionContext,
    ObjectState,
    PartialDecision,
    Run,
    moment_of,
    seconds_between,
    state_of,
)
from scenewright.reconcile.decide.endings import deletions

_ENDED = ("UpToDate", "NotSelected", "Done", "Failed")


def forecast(run: Run) -> Forecast | None:
    """What the pass will take, once the index has counted; None if nothing is left to do on a GPU."""
    stages = {name: stage for name, stage in run.stages.items() if name in run.plan.selected}
    todo = {name: stage.indexed.todo for name, stage in stages.items()}
    shards = {name: stage.shards.total for name, stage in stages.items()}
    found = forecast_of(run.plan, todo, shards, {name: run.gpus_of(name) for name in stages})
    return found if found.gpu_hours else None


def measured(run: Run) -> Run:
    """The run with the GPU time of Pods that still run; unchanged without a budget."""
    if run.plan.spec.execution.budget is None:
        return run
    stages = []
    for stage in run.memory.stages:
        job = run.jobs.get(stage.name)
        pods = run.context.pods_of(job) if job is not None else ()
        began = [(pod.started_at, pod.finished_at or run.now) for pod in pods if pod.started_at is not None]
        held = run.gpus_of(stage.name) * sum(seconds_between(*each) for each in began)
        stages.append(stage.model_copy(update={"gpu_seconds": max(stage.gpu_seconds, round(held, 1))}))
    return run.remembering(stages=stages)


def exhausted(run: Run) -> PartialDecision | None:
    """The rest of a run that has used up its budget; None while it may go on. Publishing is never held back."""
    budget, memory = run.plan.spec.execution.budget, run.memory
    if budget is None or memory.plan_only:
        return None
    ended = {name for name, job in run.jobs.items() if job.ended}
    left = [stage for stage in memory.stages if stage.state not in _ENDED and stage.name not in ended]
    on_gpu = any(run.gpus_of(stage.name) for stage in left)
    wall = used_wall(memory, run.now)
    if not ((on_gpu and used_gpu(memory) >= budget.gpu_seconds) or (left and wall >= budget.wall_seconds)):
        return None
    stopped = [counts.stopped(stage) for stage in memory.stages]
    spent = (memory.spent or Spent()).model_copy(update={"wall_seconds": wall})
    update = {"run": "", "stage": "", "clearing": False, "stages": stopped, "spent": spent}
    return resting(run.context, run.plan, memory.model_copy(update=update))


def reached(plan: Plan, memory: Status) -> bool:
    """Whether an object rests at its budget, which was not raised enough."""
    budget = plan.spec.execution.budget
    if budget is None or memory.run or memory.spent is None or state_of(memory).reason != BUDGET_REACHED:
        return False
    return used_gpu(memory) >= budget.gpu_seconds or memory.spent.wall_seconds >= budget.wall_seconds


def resting(context: DecisionContext, plan: Plan, memory: Status) -> PartialDecision:
    """Rests until the budget is raised; all finished samples are kept."""
    budget, spent = plan.spec.execution.budget, memory.spent or Spent()
    limits = budget.model_dump(by_alias=True, exclude_none=True) if budget is not None else {}
    allowed = " and ".join(f"{name} {value}" for name, value in limits.items())
    used = f"{used_gpu(memory) / 3600:.2f} GPU hours in {spent.wall_seconds / 3600:.2f} h"
    text = f"{used} are used, and spec.execution.budget allows {allowed}; a raised budget continues"
    actions = tuple(deletions(context.observed.jobs, "the budget is used up"))
    return PartialDecision(memory, ObjectState("Waiting", BUDGET_REACHED, text), actions)


def seconds_left(run: Run) -> float | None:
    """Seconds until the running Pods will have used up the budget; None without one."""
    budget = run.plan.spec.execution.budget
    if budget is None:
        return None
    running = (pod for pod in run.context.observed.pods if pod.started_at is not None and pod.finished_at is None)
    holding = sum(run.gpus_of(pod.step) for pod in running if pod.step in run.stages)
    on_gpu = (budget.gpu_seconds - used_gpu(run.memory)) / holding if holding else math.inf
    soonest = min(on_gpu, budget.wall_seconds - used_wall(run.memory, run.now))
    return None if math.isinf(soonest) else soonest


def without_stages(plan: Plan, memory: Status) -> Spent | None:
    """What is spent once the stages of the status are dropped; None without a budget."""
    if plan.spec.execution.budget is None:
        return memory.spent
    before = memory.spent or Spent()
    return before.model_copy(update={"gpu_seconds": used_gpu(memory)})


def without_run(plan: Plan, memory: Status, now: datetime) -> Spent | None:
    """What is spent when the run is given up, for example because the object is suspended."""
    if plan.spec.execution.budget is None or not memory.run:
        return memory.spent
    return (memory.spent or Spent()).model_copy(update={"wall_seconds": used_wall(memory, now)})


def used_gpu(memory: Status) -> float:
    """GPU seconds of this work so far."""
    return (memory.spent or Spent()).gpu_seconds + sum(stage.gpu_seconds for stage in memory.stages)


def used_wall(memory: Status, now: datetime) -> float:
    """Seconds of this work so far, without its rests."""
    began = moment_of(memory.started_at)
    current = seconds_between(began, now) if memory.run and began is not None else 0.0
    return (memory.spent or Spent()).wall_seconds + current
