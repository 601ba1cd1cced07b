"""Renders objects as tables and panels in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from scenewright.api.status import number_texts, rate_text
from scenewright.cli.cluster.views import MARK_WORDS, ObjectView, StageView, facts
from scenewright.cli.results import MOST_FAILURES, failure_table, place_table
from scenewright.cli.texts import age, duration, plain_table

STYLES = {
    "Pending": "dim",
    "Waiting": "yellow",
    "Indexing": "cyan",
    "Running": "cyan",
    "Publishing": "cyan",
    "Suspended": "magenta",
    "Complete": "green",
    "Failed": "red",
}
_MARKS = {
    "pending": ("·", "dim"),
    "waiting": ("…", "yellow"),
    "running": ("▶", "cyan"),
    "done": ("✓", "green"),
    "current": ("✓", "dim green"),
    "excluded": ("·", "dim"),
    "failed": ("✗", "red"),
}
_BAR = 20
_COLUMNS: dict[str, Callable[[ObjectView], RenderableType]] = {
    "object": lambda view: view.reference,
    "pipeline": lambda view: view.pipeline,
    "phase": lambda view: Text(view.phase, STYLES.get(view.phase, "")),
    "stage": lambda view: view.stage,
    "done": lambda view: view.progress,
    "failed": lambda view: Text(str(view.failed), "red") if view.failed else "",
    "rate": lambda view: view.rate,
    "age": lambda view: age(view.age),
}
_NUMBERS = ("done", "failed", "rate", "age")
_WIDE = 100
_LEFT_OUT = ("pipeline", "rate")
MOST_REASONS = 20


def overview(views: Sequence[ObjectView], with_namespace: bool, width: int) -> RenderableType:
    """All objects, one line each, and below them why some are stuck or not seen by an operator.

    With less than 100 columns, pipeline and rate are left out.
    """
    columns = _COLUMNS if width >= _WIDE else {name: of for name, of in _COLUMNS.items() if name not in _LEFT_OUT}
    table = plain_table(*(["namespace"] if with_namespace else []), *columns, right=_NUMBERS)
    for view in views:
        table.add_row(*([view.namespace] if with_namespace else []), *(of(view) for of in columns.values()))
    stuck = [view for view in views if view.behind or (view.phase in ("Waiting", "Failed") and view.reason)]
    return Group(table, *([Text("")] if stuck else []), *(_why(view) for view in stuck[:MOST_REASONS]))


def picture(view: ObjectView) -> RenderableType:
    """One object: progress of its stages, failures, and where the results are."""
    style = STYLES.get(view.phase, "")
    words = filter(None, (view.pipeline, *facts(view), f"created {age(view.age)} ago"))
    parts: list[RenderableType] = [Text.assemble((view.phase, f"bold {style}"), "  ", " · ".join(words))]
    if view.message:
        parts.append(Text.assemble((view.reason, style), f"  {view.message}"))
    if view.stages:
        parts += [Text(""), _stages(view.stages)]
    if view.children:
        parts += [Text(""), *map(Text, view.children)]
    if view.notices:
        parts += [Text(""), *(Text(f"! {notice}", "yellow") for notice in view.notices)]
    if view.failures:
        names = ("sample", "stage", "reason", "message")
        parts += [Text(""), failure_table(tuple(each.get(name, "") for name in names) for each in view.failures)]
    if (more := max(view.failed, len(view.failures)) - MOST_FAILURES) > 0 and view.failures:
        parts.append(Text(f"and {more} more in dropped.csv beside the results", "dim"))
    if view.lab:
        values = ", ".join(f"{path} = {value}" for path, value in view.lab.items())
        parts += [Text(""), Text(f"from the lab's defaults: {values}", "dim")]
    if view.outputs:
        parts += [Text(""), place_table(view.outputs.items())]
    if view.run and view.ended and (view.failed or view.phase == "Failed"):
        which = f"{view.reference} -n {view.namespace}"
        hint = f"`scenewright logs {which}` shows why; `scenewright retry {which}` tries again"
        parts += [Text(""), Text(hint, "dim")]
    title = Text.assemble((f" {view.kind} ", "bold"), f"{view.namespace}/", (f"{view.name} ", "bold"))
    return Panel(Group(*parts), title=title, title_align="left", border_style=style or "none", padding=(0, 1))


def _why(view: ObjectView) -> Text:
    if view.behind:
        return Text.assemble(view.reference, "  ", (view.notices[0], "yellow"), overflow="fold")
    style = STYLES[view.phase]
    return Text.assemble(view.reference, "  ", (view.reason, style), (f"  {view.message}", "dim"), overflow="fold")


def _stages(stages: Sequence[StageView]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(width=1)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for stage in stages:
        mark, style = _MARKS[stage.mark]
        plain, name = ("", "bold") if stage.mark == "running" else (style, style)
        samples = Text(f"{stage.done}/{stage.total}" if stage.total else "", plain)
        time = Text("" if stage.seconds is None else duration(stage.seconds), plain)
        details = Text(" · ".join(_details(stage)), "dim")
        table.add_row(Text(mark, style), Text(stage.name, name), samples, _middle(stage), time, details)
    return table


def _middle(stage: StageView) -> RenderableType:
    """Failed and skipped samples, after a progress bar if the stage is running or waiting."""
    failed, skipped = (
        f"{stage.failed} failed" if stage.failed else "",
        f"{stage.skipped} skipped" if stage.skipped else "",
    )
    text = Text.assemble((failed, "red"), "  " if failed and skipped else "", (skipped, "dim"))
    if stage.mark not in ("running", "waiting") or not stage.total:
        return text
    both = Table.grid(padding=(0, 2, 0, 0))
    both.add_row(ProgressBar(total=1.0, completed=stage.share, width=_BAR), text)
    return both


def _details(stage: StageView) -> list[str]:
    found = [MARK_WORDS[stage.mark]] if stage.mark in MARK_WORDS else []
    found += [rate_text(stage.rate)] if stage.rate else []
    found += [f"{duration(stage.remaining)} left"] if stage.remaining is not None else []
    found += [stage.shards] if stage.shards else []
    found += [f"{duration(stage.gpu_seconds)} of GPU time"] if stage.gpu_seconds else []
    return found + number_texts(stage.numbers)
