"""Problems of a manifest, each with field, value and remedy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from urllib.parse import unquote

from scenewright.api.raw import Json
from scenewright_stages.contract.errors import ConfigurationError, ScenewrightError

ABSENT = object()
"""Stands for the value of a missing field."""

_LONGEST_VALUE = 80


@dataclass(frozen=True)
class Problem:
    """One refused field.

    Attributes:
        field: path in the manifest, such as ``spec.vistadream.coarse.frames``; empty for the document itself.
        value: the given value; ABSENT if missing or not helpful.
        remedy: what is allowed, or what to do.
    """

    field: str
    value: object
    remedy: str

    def __str__(self) -> str:
        parts = [self.field, "" if self.value is ABSENT else shown(self.value), self.remedy]
        return ": ".join(part for part in parts if part)

    def to_json(self) -> Json:
        """As JSON for programs; without ``value`` if it is ABSENT."""
        value = {} if self.value is ABSENT else {"value": self.value}
        return {"field": self.field, **value, "remedy": self.remedy}


class SpecError(ScenewrightError):
    """The manifest cannot be run; carries all its problems."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def from_configuration_error(error: ConfigurationError) -> Problem:
    """Converts an error of the data plane, whose field paths start below ``spec``."""
    field = error.field if error.field.startswith(("spec.", "metadata.")) else f"spec.{error.field}"
    return Problem(field, error.value, error.remedy)


def shown(value: object) -> str:
    """A value on one short line: text in quotes, local files as paths, long values cut."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, str):
        text = unquote(value.removeprefix("file://"))
    text = " ".join(text.split())
    if len(text) > _LONGEST_VALUE:
        text = f"{text[: _LONGEST_VALUE - 1]}…"
    return f"{text!r}" if isinstance(value, str) else text


def suggestion(word: str, allowed: Sequence[str]) -> str:
    """The allowed names, after ``did you mean ...?`` if one of them is similar."""
    close = get_close_matches(word.lower(), [name.lower() for name in allowed], n=1, cutoff=0.6)
    hint = next((f"did you mean {name!r}? " for name in allowed if close and name.lower() == close[0]), "")
    return f"{hint}allowed: {', '.join(allowed) or 'none'}"
