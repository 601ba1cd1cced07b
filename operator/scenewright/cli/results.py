"""The result of a local run: a summary, the files to open first, and JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from scenewright.api.raw import Json
from scenewright.cli.texts import duration, place, plain_table
from scenewright.execution.events import Outcome
from scenewright.execution.published import local_path, read_json
from scenewright.planning.plan import Plan
from scenewright.planning.protocol import ends_text
from scenewright_stages.contract import layout
from scenewright_stages.contract.reports import Failure, Report
from scenewright_stages.contract.results import StageTime
from scenewright_stages.contract.results import total_time as sum_of_times
from scenewright_stages.contract.task import PUBLISH_STEP

_WORTH_OPENING = ("html", "ply", "video", "rrd")
_LABELS = {"ply": "Gaussians", "rerun": "Rerun recording"}


def highlights(plan: Plan, outcome: Outcome) -> list[tuple[str, str]]:
    """Labels and paths of what to open: the report page and, for a single sample, each stage's results."""
    report = outcome.report
    found = [("report", place(report.outputs["report"]))] if report and report.outputs.get("report") else []
    folder = local_path(plan.spec.output.uri)
    if folder is None or report is None or report.samples != 1:
        return [*found, ("results", place(plan.spec.output.uri))]
    files = read_json(folder / layout.PUBLISHED).get("files", {})
    for stage in plan.chain:
        for output in stage.outputs:
            if output.result and output.media in _WORTH_OPENING:
                label = _LABELS.get(output.name, output.name.replace("_", " "))
                before, _, after = output.path.partition("{sample}")
                matching = [name for name in files if name.startswith(before) and name.endswith(after)]
                found += [(label, place((folder / name).as_uri())) for name in matching]
    return found


def outcome_json(plan: Plan, run: str, outcome: Outcome) -> Json:
    """The run as JSON for programs."""
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
        "units": report.counted().model_dump(by_alias=True) if report else {},
        "times": times_json(report) if report else {},
        "rejected": report.rejected if report else 0,
        "stages": {name: counts.model_dump(by_alias=True) for name, counts in report.stages.items()} if report else {},
        "failures": [failure.model_dump(by_alias=True) for failure in report.failures] if report else [],
        "warnings": list(report.warnings) if report else [],
        "outputs": dict(report.outputs) if report and not outcome.problems else {},
    }


MOST_FAILURES = 10


def headline(plan: Plan, outcome: Outcome) -> str:
    """One sentence on how the run ended, with the numbers of publish."""
    report = outcome.report
    if report is None or report.step != PUBLISH_STEP or report.reason:
        return f"{plan.name}: {outcome.message}"
    ended = ends_text(report.counted())
    if outcome.exit_code != 0:
        return f"{plan.name}: {outcome.message}; {ended}"
    if not _ran(plan, outcome):
        return f"{plan.name}: {ended.replace(' done', ' up to date, nothing to do', 1)}"
    return f"{plan.name}: {ended} ({duration(total_time(report).wall_seconds)})"


def _ran(plan: Plan, outcome: Outcome) -> bool:
    return any(stage.name in outcome.step_seconds for stage in plan.chain)


def total_time(report: Report) -> StageTime:
    """Times of the whole chain, as on the pages and in the summary."""
    return sum_of_times(
        StageTime(counts.wall_seconds, counts.seconds, counts.gpu_seconds) for counts in report.stages.values()
    )


def time_line(plan: Plan, outcome: Outcome) -> str:
    """Wall time by stage, and the processing time of all; empty if no stage ran."""
    report = outcome.report
    if report is None or report.step != PUBLISH_STEP or not _ran(plan, outcome):
        return ""
    total = total_time(report)
    stages = [
        f"{name} {duration(counts.wall_seconds)}" for name, counts in report.stages.items() if counts.wall_seconds
    ]
    processing = f" (processing {duration(total.seconds)})"
    return f"time: {duration(total.wall_seconds)}{processing}: {', '.join(stages)}" if stages else ""


def times_json(report: Report) -> Json:
    """The times as ``summary.json`` has them."""
    total = total_time(report)
    return {
        "total": {"wallSeconds": total.wall_seconds, "seconds": total.seconds},
        "stages": {
            name: {"wallSeconds": counts.wall_seconds, "seconds": counts.seconds}
            for name, counts in report.stages.items()
        },
    }


def retry_hint(outcome: Outcome, retried: bool) -> str:
    """How to retry failed samples; empty if none failed or this was a retry."""
    if retried or outcome.reason not in ("SamplesFailed", "NothingReadable") or outcome.report is None:
        return ""
    return "Unchanged samples are not tried again by `scenewright run`; `scenewright retry` does that."


def print_plain_summary(plan: Plan, outcome: Outcome, retried: bool) -> None:
    """The summary as lines on stdout."""
    if outcome.problems:
        return
    print(headline(plan, outcome))
    if line := time_line(plan, outcome):
        print(line)
    for warning in outcome.report.warnings if outcome.report else []:
        print(f"warning: {warning}")
    for failure in _failures(outcome)[:MOST_FAILURES]:
        print(f"failed: {failure.sample}: {failure.stage}: {failure.reason}: {failure.message}")
    if hint := retry_hint(outcome, retried):
        print(hint)
    if outcome.report is not None:
        for label, where in highlights(plan, outcome):
            print(f"{label}: {where}")


def print_rich_summary(plan: Plan, outcome: Outcome, retried: bool, console: Console) -> None:
    """The summary as a panel: green for done, yellow for partly failed, red for refused."""
    style = {0: "green", 1: "yellow"}.get(outcome.exit_code, "red")
    parts: list[RenderableType] = []
    if outcome.report is not None and outcome.report.warnings:
        parts += [*(Text(f"! {warning}", "bold yellow") for warning in outcome.report.warnings), Text("")]
    if _failures(outcome):
        parts.append(failure_table((each.sample, each.stage, each.reason, each.message) for each in _failures(outcome)))
        dropped = outcome.report.outputs.get("dropped", "") if outcome.report else ""
        parts.append(Text(f"all of them: {place(dropped)}" if dropped else "", "dim"))
    if hint := retry_hint(outcome, retried):
        parts.append(Text(hint, "dim"))
    if line := time_line(plan, outcome):
        parts.append(Text(line, "dim"))
    if outcome.report is not None and not outcome.problems:
        parts.append(place_table(highlights(plan, outcome)))
    console.print(Panel(Group(*parts), title=Text(headline(plan, outcome)), title_align="left", border_style=style))


def _failures(outcome: Outcome) -> list[Failure]:
    return list(outcome.report.failures) if outcome.report else []


def failure_table(failures: Iterable[tuple[str, str, str, str]]) -> Table:
    """The first failures: sample, stage, reason and message of each."""
    columns = ("sample", "stage", "reason", "message")
    table = plain_table(*columns, folded=columns)
    for sample, stage, reason, message in islice(failures, MOST_FAILURES):
        table.add_row(sample, stage, Text(reason, "red"), Text(message))
    return table


def place_table(found: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for label, where in found:
        table.add_row(Text(label, "bold"), Text(where, "cyan", overflow="fold"))
    return table
