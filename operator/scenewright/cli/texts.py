"""Formatting that commands share: numbers, durations, paths, JSON documents and refused specs."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec

from scenewright.api.raw import Json
from scenewright.execution.outcomes import COMMAND_REFUSED
from scenewright.execution.published import local_path
from scenewright.planning.problems import Problem, SpecError
from scenewright_stages.contract.results import duration_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Arguments = ParamSpec("Arguments")
_WIDTH_OF_PIPES = 200
"""Columns of a table in a pipe: nothing that a script reads is folded."""


def table_console() -> Console:
    """Prints tables: as wide as the terminal, or wide enough in a pipe."""
    # Imported late: most commands print no table.
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_PIPES)


def plain_table(*columns: str, folded: Collection[str] = (), right: Collection[str] = ()) -> Table:
    """A table without lines; columns that are not folded are never broken."""
    from rich.table import Table

    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        if name in folded:
            table.add_column(name, overflow="fold", justify="right" if name in right else "left")
        else:
            table.add_column(name, no_wrap=True, justify="right" if name in right else "left")
    return table


duration = duration_text
"""``0.4 s``, ``37 s``, ``4 min 05 s`` or ``2 h 10 min``, as on the pages."""


def age(seconds: float) -> str:
    """``37 s``, ``12 min``, ``5 h`` or ``3 d``."""
    for limit, unit, word in ((100, 1, "s"), (6000, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{max(0.0, seconds) / unit:.0f} {word}"
    return f"{seconds / 86_400:.0f} d"


def count(number: int, singular: str, plural: str = "") -> str:
    """``1 sample``, ``2 samples``."""
    return f"{number} {singular if number == 1 else plural or f'{singular}s'}"


def counted(*numbers: tuple[int, str]) -> list[str]:
    """``3 done``, ``1 failed``: all numbers except 0, with their words."""
    return [f"{number} {word}" for number, word in numbers if number]


def place(uri: str) -> str:
    """A URI for people: local files as paths, relative if they are in the current folder."""
    path = local_path(uri)
    if path is None:
        return uri
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def size(number: float) -> str:
    """Bytes with a decimal unit: ``24 GB``."""
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} GB" if number < 10 else f"{number:.0f} GB"


def print_problems(problems: Iterable[Problem]) -> None:
    """Prints ``error: field: value: remedy`` on stderr, one line per problem."""
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")


def print_json(document: Json) -> None:
    """Prints a command's JSON document on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")


def refusing(command: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """Decorates a command to print a SpecError, as JSON with `as_json=True`, and to return its exit code."""

    @functools.wraps(command)
    def refusing_command(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
        try:
            return command(*args, **kwargs)
        except SpecError as error:
            if kwargs.get("as_json"):
                problems = [problem.to_json() for problem in error.problems]
                print_json({"exitCode": COMMAND_REFUSED, "reason": "SpecRefused", "problems": problems})
            else:
                print_problems(error.problems)
            return COMMAND_REFUSED

    return refusing_command
