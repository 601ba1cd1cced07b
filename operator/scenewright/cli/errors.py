"""Refused specs as the user sees them: on stderr a line each, or in the JSON document."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from scenewright.execution.policy import COMMAND_REFUSED
from scenewright.planning.problems import Problem, SpecError


def print_problems(problems: Iterable[Problem]) -> None:
    """``error: field: value: remedy`` on stderr, one line each."""
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document of a command on stdout."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n")


def refuse(error: SpecError, as_json: bool) -> int:
    """Tells the problems and returns the exit code."""
    if as_json:
        problems = [problem.to_json() for problem in error.problems]
        print_json({"exitCode": COMMAND_REFUSED, "reason": "SpecRefused", "problems": problems})
    else:
        print_problems(error.problems)
    return COMMAND_REFUSED
