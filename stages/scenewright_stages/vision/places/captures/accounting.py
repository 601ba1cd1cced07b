"""Accounts for what a reader met in a capture: each file and key is used, or left with the reason.

Readers call :meth:`Account.use` and :meth:`Account.leave` while they read. Whatever nobody claimed is classified by its
name at the end, so a file that no reader knows is still named. The listing turns the account into one note a capture.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from scenewright_stages.contract.formats import PICTURE_ENDINGS, UNREAD_PICTURES, VIDEO_ENDINGS
from scenewright_stages.vision.places.captures.capture import CaptureError

NAMED = 4
"""Names that a note gives for each reason; the rest are counted."""
_TEXTS = (".md", ".txt", ".pdf", ".html", ".rst")
_LICENCES = ("license", "licence", "readme", "copying", "notice")


@dataclass
class Account:
    """What was used of a capture, and what was left for which reason.

    Attributes:
        used: names of files.
        left: reason by name of a file or key, in the order in which they were met.
    """

    used: set[str] = field(default_factory=set)
    left: dict[str, str] = field(default_factory=dict)

    def use(self, *names: str) -> None:
        """Files that the capture needs."""
        self.used.update(names)

    def leave(self, names: Iterable[str], reason: str) -> None:
        """Files or keys that are not used; a reason given earlier stays."""
        for name in names:
            self.left.setdefault(name, reason)

    def finish(self, keys: Iterable[str]) -> None:
        """Classifies by their names all files that were neither used nor left."""
        for key in keys:
            if key not in self.used and key not in self.left:
                self.left[key] = reason_for(key)

    def note(self) -> str:
        """One sentence on everything that was left; empty if everything was used."""
        return found_and_not_used(self.left)


def found_and_not_used(left: Mapping[str, str]) -> str:
    """One sentence that names what was left, by reason; empty if nothing was."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in left.items():
        by_reason.setdefault(reason, []).append(name)
    parts = [f"{_names(names)} ({reason})" for reason, names in by_reason.items()]
    return f"found and not used: {'; '.join(parts)}" if parts else ""


def reason_for(key: str) -> str:
    """Why a file is not used that no reader knows."""
    path = PurePosixPath(key)
    name = path.name.lower()
    if any(part.startswith(".") for part in path.parts):
        return "hidden"
    if name.startswith(_LICENCES) or name.endswith(_TEXTS):
        return "text for people"
    if name.endswith(VIDEO_ENDINGS):
        return "a video is a capture of its own: name it as the input"
    if name.endswith(UNREAD_PICTURES):
        return f"pictures of this format are not read: convert them to one of {' '.join(PICTURE_ENDINGS)}"
    if name.endswith(PICTURE_ENDINGS):
        return "no pose names it"
    return "of no kind that a capture is read from"


def _names(names: list[str]) -> str:
    shown = ", ".join(names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


class Keys:
    """A mapping of a JSON file, read with checked types; knows which keys were asked for.

    Args:
        data: the parsed mapping.
        where: names it in errors, such as ``transforms.json frame 3``.
    """

    def __init__(self, data: Any, where: str) -> None:
        if not isinstance(data, dict):
            raise CaptureError("Damaged", f"{where} is {_shown(data)}; expected an object with keys")
        self.data: dict[str, Any] = data
        self.where = where
        self.asked: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return self.data.get(name) is not None

    def unasked(self) -> list[str]:
        """Keys that nobody asked for."""
        return [name for name in self.data if name not in self.asked]

    def take(self, *names: str) -> None:
        """Marks keys as asked for, that another function reads."""
        self.asked.update(names)

    def text(self, name: str, default: str = "") -> str:
        """A text. Raises CaptureError for another type."""
        value = self._value(name, default)
        if not isinstance(value, str):
            raise self.refused(name, "a text")
        return value

    def number(self, name: str, default: float) -> float:
        """A finite number. Raises CaptureError for another type."""
        value = self._value(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == float("inf"):
            raise self.refused(name, "a finite number")
        return float(value)

    def flag(self, name: str) -> bool:
        """True or false; a missing key is false. Raises CaptureError for another type."""
        value = self._value(name, False)
        if not isinstance(value, bool | int):
            raise self.refused(name, "true or false")
        return bool(value)

    def rows(self, name: str) -> list[Any]:
        """A list; empty if missing. Raises CaptureError for another type."""
        value = self._value(name, [])
        if not isinstance(value, list):
            raise self.refused(name, "a list")
        return value

    def texts(self, name: str) -> list[str]:
        """A list of texts; empty if missing. Raises CaptureError for another type."""
        values = self.rows(name)
        if not all(isinstance(each, str) for each in values):
            raise self.refused(name, "a list of texts")
        return values

    def refused(self, name: str, expected: str) -> CaptureError:
        """The error for a key of the wrong type."""
        return CaptureError("Damaged", f"{self.where}: {name} is {_shown(self.data.get(name))}; expected {expected}")

    def _value(self, name: str, default: Any) -> Any:
        self.asked.add(name)
        value = self.data.get(name)
        return default if value is None else value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def named_once(names: Collection[str], what: str) -> None:
    """Raises CaptureError if a name is there twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise CaptureError("Damaged", f"{what} names {name} twice: keep one of them")
        seen.add(name)
