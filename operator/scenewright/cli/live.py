"""Shows progress as a live table in a terminal, one line per step."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from scenewright.cli.board import Board, Row
from scenewright.cli.texts import duration
from scenewright.execution.events import Event, Interrupted, PassStarted, Retried

_MARKS: dict[str, tuple[str, str]] = {
    "pending": ("·", "dim"),
    "done": ("✓", "green"),
    "current": ("✓", "dim green"),
    "failed": ("✗", "red"),
    "stopped": ("■", "yellow"),
    "excluded": ("-", "dim"),
}
REDRAWS_PER_SECOND = 8
MINIMUM_WIDTH = 40


class LiveProgress:
    """Draws the board during a run; the last state stays on the screen."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(
            get_renderable=self._draw, console=console, refresh_per_second=REDRAWS_PER_SECOND, redirect_stdout=False
        )

    def __enter__(self) -> LiveProgress:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def show(self, event: Event) -> None:
        """Updates the table with an event; prints notes above it."""
        self._board.update(event)
        if isinstance(event, Retried | PassStarted | Interrupted):
            self._console.print(Text(f"! {self._board.notes[-1]}", style="yellow"))

    def _draw(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(width=20)
        table.add_column(justify="right", no_wrap=True, min_width=7)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for row in self._board.rows.values():
            table.add_row(*self._cells(row))
        # Leave room for ^C, which the terminal echoes: a full line would wrap, and Live would not erase it.
        table.width = max(MINIMUM_WIDTH, self._console.width - len("^C^C"))
        return table

    def _cells(self, row: Row) -> tuple[RenderableType, ...]:
        now = self._board.clock()
        if row.state == "running":
            bar = ProgressBar(total=1.0, completed=row.share(), width=20, pulse=row.total == 0)
            facts = Text(" · ".join([*filter(None, [row.message]), *row.pace(now)]), "dim")
            return self._spinner, Text(row.title, "bold"), _counts(row), bar, duration(row.elapsed(now)), facts
        mark, style = _MARKS[row.state]
        time = duration(row.seconds) if row.state in ("done", "failed", "stopped") else ""
        notes = {"current": "up to date", "excluded": "not selected"}
        note = notes.get(row.state, "")
        return Text(mark, style), Text(row.title, style), _counts(row), "", Text(time, style), Text(note, "dim")


def _counts(row: Row) -> Text:
    if not row.total or row.state in ("pending", "excluded"):
        return Text("")
    text = Text(f"{row.done}/{row.total}", "dim" if row.state == "current" else "")
    if row.failed:
        text.append(f" {row.failed} failed", "red")
    if row.skipped:
        text.append(f" {row.skipped} skipped", "dim")
    return text
