"""``scenewright plan`` and ``scenewright validate``: check manifests, with and without reading the input."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scenewright.api.raw import Json
from scenewright.api.status import Forecast
from scenewright.cli.commands.run import run_settings
from scenewright.cli.manifests import Changes, load_plans, reference_to
from scenewright.cli.texts import count, duration, plain_table, print_json, print_problems, refusing, table_console
from scenewright.execution.events import Outcome
from scenewright.execution.jobs import PodSettings
from scenewright.execution.jobs.resources import needs_of
from scenewright.execution.local import LocalRun
from scenewright.execution.published import local_path, resolved_from
from scenewright.planning.backends import weights_problems
from scenewright.planning.inputs import ObjectReference
from scenewright.planning.plan import Plan
from scenewright.planning.protocol import forecast_of
from scenewright_stages.backends.runtime.cache.weights import default_cache_dir

WAITS = "WaitingForDependency"
_WITHOUT_LAB = (
    "made without the defaults of a lab, which this machine cannot see: in a cluster, values that the manifest leaves "
    "out may come from them; `scenewright status` shows which did"
)


@refusing
def plan_command(files: Sequence[Path], changes: Changes, *, as_json: bool, force: bool = False) -> int:
    """Shows what a run would do. Runs the index step, which reads input and output and writes nothing."""
    plans = load_plans(files, changes, complete=False)
    outputs = {reference_to(plan): plan.spec.output.uri for plan in plans}
    results = [_planned(plan, outputs, force) for plan in plans]
    code = max(outcome.exit_code for _, outcome, _ in results)
    if as_json:
        print_json({"exitCode": code, "jobs": [plan_json(*each) for each in results]})
        return code
    for plan, outcome, found in results:
        if outcome.reason == WAITS:
            print(f"{plan.kind} {plan.name}: {plan.pipeline.name}, {outcome.message}")
            _print_notes(plan, found)
        elif outcome.exit_code:
            print_problems(outcome.problems)
            if not outcome.problems:
                sys.stderr.write(f"error: {plan.name}: {outcome.message}\n")
        else:
            _print_plan(plan, found)
            _print_notes(plan, found)
    return code


def _planned(plan: Plan, outputs: Mapping[ObjectReference, str], force: bool) -> tuple[Plan, Outcome, Json]:
    """What a run would do, or which unpublished object it waits for."""
    resolved = resolved_from(plan, outputs)
    if isinstance(resolved, ObjectReference):
        return plan, Outcome(0, WAITS, f"waits for {resolved}, which has published nothing here yet"), {}
    plan = plan.with_resolved(resolved)
    return plan, *LocalRun(plan, run_settings(plan, force=force), lambda event: None, os.environ).plan_only()


def plan_json(plan: Plan, outcome: Outcome, found: Json) -> Json:
    """The plan as JSON for programs."""
    return {
        "kind": plan.kind,
        "name": plan.name,
        "workHash": plan.work_hash,
        "exitCode": outcome.exit_code,
        "problems": [problem.to_json() for problem in outcome.problems],
        "samples": found.get("samples", 0),
        "rejected": found.get("rejected", []),
        "ignored": found.get("ignored", 0),
        "warnings": found.get("warnings", []),
        "notes": _notes(plan, found),
        "stages": [_stage_json(plan, stage) for stage in found.get("stages", [])],
        "forecast": _forecast(plan, found).model_dump(by_alias=True),
    }


def _forecast(plan: Plan, found: Json) -> Forecast:
    """What a cluster would take for the stages that this run selects."""
    stages = [stage for stage in found.get("stages", []) if stage["name"] in plan.selected]
    todo, shards = ({stage["name"]: stage[key] for stage in stages} for key in ("todo", "shards"))
    return forecast_of(plan, todo, shards, {name: needs_of(plan, name, PodSettings()).gpus for name in todo})


def _stage_json(plan: Plan, found: Json) -> Json:
    stage = plan.stage(found["name"])
    return {
        **found,
        "key": plan.keys[stage.name],
        "title": stage.title,
        "backends": stage.models.backends,
        "resources": vars(stage.pod.resources),
        "estimatedSeconds": found["todo"] * stage.pod.seconds_per_sample,
    }


def _print_plan(plan: Plan, found: Json) -> None:
    console = table_console()
    refused = f", {len(found['rejected'])} refused" if found["rejected"] else ""
    console.print(f"{plan.kind} {plan.name}: {plan.pipeline.name}, {count(found['samples'], 'sample')}{refused}")
    numbers = ("up to date", "to run", "about")
    table = plain_table("stage", "backends", "on", *numbers, "why", folded=(*numbers, "why"), right=numbers)
    for stage in found["stages"]:
        table.add_row(*_cells(plan, _stage_json(plan, stage)))
    console.print(table)
    forecast, budget = _forecast(plan, found), plan.spec.execution.budget
    if forecast.gpu_hours:
        limit = f"; the budget allows {budget.gpu_hours:g}" if budget is not None and budget.gpu_hours else ""
        console.print(f"in a cluster about {forecast.gpu_hours:.3g} GPU hours{limit}", markup=False)
    for rejected in found["rejected"]:
        console.print(f"refused: {rejected['id']}: {rejected['reason']}: {rejected['message']}", markup=False)
    for warning in found["warnings"]:
        console.print(f"warning: {warning}", markup=False)


def _notes(plan: Plan, found: Json) -> list[str]:
    """What the table does not show: weights without which nothing runs on this machine, and limits of such a plan."""
    # A job with a local output cannot run in a cluster.
    elsewhere = [] if local_path(plan.spec.output.uri) is not None else [_WITHOUT_LAB]
    working = [stage["name"] for stage in found.get("stages", []) if stage["todo"] and stage["name"] in plan.selected]
    accepted, cache = plan.usable_licences, default_cache_dir()
    lacking = weights_problems(plan.chain, plan.parameters, working, accepted, cache)
    return [*(f"it cannot run on this machine yet: {problem}" for problem in lacking), *elsewhere]


def _print_notes(plan: Plan, found: Json) -> None:
    for note in _notes(plan, found):
        print(f"note: {note}")


def _cells(plan: Plan, stage: Json) -> tuple[str, ...]:
    backends = "\n".join(f"{capability}: {name}" for capability, name in stage["backends"].items())
    gpus = stage["resources"]["gpus"]
    why = ", ".join(f"{reason} ({number})" for reason, number in stage["reasons"].items())
    if stage["name"] not in plan.selected:
        why = "not selected"
    elif stage["failed"]:
        why = ", ".join(part for part in (why, f"{stage['failed']} failed before") if part)
    return (
        stage["name"],
        backends,
        count(gpus, "GPU") if gpus else "CPU",
        str(stage["done"]),
        str(stage["todo"]) + (f" in {stage['shards']} shards" if stage["shards"] > 1 else ""),
        duration(stage["estimatedSeconds"]) if stage["todo"] else "",
        why,
    )


@refusing
def validate_command(files: Sequence[Path], changes: Changes, *, as_json: bool) -> int:
    """Reports all problems that can be found without reading the input."""
    plans = load_plans(files, changes, complete=False)
    if as_json:
        jobs = [{"kind": plan.kind, "name": plan.name, "workHash": plan.work_hash} for plan in plans]
        print_json({"exitCode": 0, "jobs": jobs, "problems": []})
    else:
        for plan in plans:
            print(f"{plan.kind} {plan.name}: valid ({plan.pipeline.name}: {', '.join(plan.selected)})")
    return 0
