"""``scenewright validate``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scenewright.cli.errors import print_json, refuse
from scenewright.cli.manifests import Changes, load_plans
from scenewright.planning.problems import SpecError


def validate_command(files: Sequence[Path], changes: Changes, as_json: bool) -> int:
    """Tells every problem that can be seen without the input."""
    try:
        plans = load_plans(files, changes, complete=False)
    except SpecError as error:
        return refuse(error, as_json)
    if as_json:
        jobs = [{"kind": plan.kind, "name": plan.name, "workHash": plan.work_hash} for plan in plans]
        print_json({"exitCode": 0, "jobs": jobs, "problems": []})
    else:
        for plan in plans:
            print(f"{plan.kind} {plan.name}: valid ({plan.pipeline.name}: {', '.join(plan.selected)})")
    return 0
