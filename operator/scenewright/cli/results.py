"""What a run left behind: the files that a person opens first, and the facts for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from scenewright.cli.texts import place
from scenewright.execution.events import Outcome
from scenewright.execution.published import local_path
from scenewright.planning.plan import Plan
from scenewright_stages.contract import layout

_WORTH_OPENING = ("html", "ply", "video", "rrd")
_LABELS = {"ply": "Gaussians", "rerun": "Rerun recording"}


def published_files(output_uri: str) -> tuple[str, ...]:
    """Paths that the last publication of a local output names; none for remote outputs, which are not read."""
    folder = local_path(output_uri)
    if folder is None:
        return ()
    try:
        published: dict[str, Any] = json.loads((folder / layout.PUBLISHED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    return tuple(published.get("files", {}))


def highlights(plan: Plan, outcome: Outcome) -> list[tuple[str, str]]:
    """Label and place of what is worth opening: the report page, then each stage's results for a single sample."""
    report = outcome.report
    found = [("report", place(report.outputs["report"]))] if report and report.outputs.get("report") else []
    files = published_files(plan.spec.output.uri)
    folder = local_path(plan.spec.output.uri)
    if folder is None or report is None or report.samples != 1:
        return [*found, ("results", place(plan.spec.output.uri))]
    for stage in plan.chain:
        for output in stage.outputs:
            if output.result and output.media in _WORTH_OPENING:
                found += [
                    (_LABELS.get(output.name, output.name.replace("_", " ")), shown)
                    for shown in _matching(files, output.path, folder)
                ]
    return found


def outcome_json(plan: Plan, run: str, outcome: Outcome) -> dict[str, Any]:
    """A run for programs."""
    report = outcome.report
    return {
        "kind": plan.kind,
        "name": plan.name,
        "run": run,
        "workHash": plan.work_hash,
        "exitCode": outcome.exit_code,
        "reason": outcome.reason,
        "message": outcome.message,
        "problems": [problem.to_json() for problem in outcome.problems],
        "seconds": round(outcome.seconds, 3),
        "stepSeconds": {step: round(seconds, 3) for step, seconds in outcome.step_seconds.items()},
        "samples": report.samples if report else 0,
        "rejected": report.rejected if report else 0,
        "stages": {name: counts.model_dump(by_alias=True) for name, counts in report.stages.items()} if report else {},
        "failures": [failure.model_dump(by_alias=True) for failure in report.failures] if report else [],
        "warnings": list(report.warnings) if report else [],
        "outputs": dict(report.outputs) if report and not outcome.problems else {},
    }


def _matching(files: tuple[str, ...], pattern: str, folder: Path) -> list[str]:
    """Published files of one declared output, as the user would type them."""
    before, _, after = pattern.partition("{sample}")
    matching = [name for name in files if name.startswith(before) and name.endswith(after)]
    return [place((folder / name).as_uri()) for name in matching]
