"""The end of a run for people: results, warnings, failures."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from scenewright.cli.results import highlights
from scenewright.cli.texts import count, duration, place
from scenewright.execution.events import Outcome
from scenewright.planning.plan import Plan
from scenewright_stages.contract.reports import Failure

MOST_FAILURES = 10


def headline(plan: Plan, outcome: Outcome) -> str:
    """One sentence on how the run ended."""
    report = outcome.report
    if outcome.exit_code == 0 and report is not None:
        ran = any(stage.name in outcome.step_seconds for stage in plan.chain)
        what = "done" if ran else "up to date, nothing to do"
        return f"{plan.name}: {count(report.samples, 'sample')} {what} ({duration(outcome.seconds)})"
    return f"{plan.name}: {outcome.message}"


def retry_hint(outcome: Outcome, retried: bool) -> str:
    """What the user can do about failed samples; empty when nothing failed or that was just done."""
    if retried or outcome.reason not in ("SamplesFailed", "NothingReadable") or outcome.report is None:
        return ""
    return "Unchanged samples are not tried again by `scenewright run`; `scenewright retry` does that."


def print_plain_summary(plan: Plan, outcome: Outcome, retried: bool) -> None:
    """The summary as lines on stdout."""
    if outcome.problems:
        return
    print(headline(plan, outcome))
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
        parts.append(_warnings(outcome.report.warnings))
    if _failures(outcome):
        parts.append(_failure_table(plan, outcome))
    if hint := retry_hint(outcome, retried):
        parts.append(Text(hint, "dim"))
    if outcome.report is not None and not outcome.problems:
        parts.append(_places(highlights(plan, outcome)))
    console.print(Panel(Group(*parts), title=Text(headline(plan, outcome)), title_align="left", border_style=style))


def _warnings(warnings: list[str]) -> RenderableType:
    return Group(*(Text(f"! {warning}", "bold yellow") for warning in warnings), Text(""))


def _failures(outcome: Outcome) -> list[Failure]:
    return list(outcome.report.failures) if outcome.report else []


def _failure_table(plan: Plan, outcome: Outcome) -> RenderableType:
    failures = _failures(outcome)
    table = Table(box=None, header_style="bold", padding=(0, 1))
    for name in ("sample", "stage", "reason", "message"):
        table.add_column(name, overflow="fold")
    for failure in failures[:MOST_FAILURES]:
        table.add_row(failure.sample, failure.stage, Text(failure.reason, "red"), failure.message)
    dropped = outcome.report.outputs.get("dropped", "") if outcome.report else ""
    more = Text(f"all of them: {place(dropped)}", "dim") if dropped else Text("")
    return Group(table, more)


def _places(found: list[tuple[str, str]]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for label, where in found:
        table.add_row(Text(label, "bold"), Text(where, "cyan", overflow="fold"))
    return table
