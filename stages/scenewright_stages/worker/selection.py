"""Which positions of an input a manifest selects: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from scenewright_stages.contract.errors import ConfigurationError

Item = TypeVar("Item")
FIELD = "spec.input.select.indices"


def parse_indices(text: str) -> list[tuple[int, int]] | None:
    """Inclusive ranges of positions from text such as ``0-9,12``; None for everything.

    Raises:
        ConfigurationError: the text is something else.
    """
    if not text.strip():
        return None
    return [_parse_range(part.strip(), text) for part in text.split(",")]


def select_positions(items: Sequence[Item], indices: str, limit: int | None) -> list[Item]:
    """The items at the selected positions, in order, at most `limit` of them.

    Raises:
        ConfigurationError: a selected position does not exist.
    """
    ranges = parse_indices(indices)
    if ranges is None:
        chosen = list(items)
    else:
        beyond = [first for first, _ in ranges if first >= len(items)]
        if beyond:
            raise ConfigurationError(FIELD, indices, f"the input has {len(items)} positions, 0 to {len(items) - 1}")
        chosen = [item for at, item in enumerate(items) if any(first <= at <= last for first, last in ranges)]
    return chosen if limit is None else chosen[:limit]


def _parse_range(part: str, text: str) -> tuple[int, int]:
    first, dash, last = part.partition("-")
    if not first.strip().isdigit() or (dash and not last.strip().isdigit()):
        raise ConfigurationError(FIELD, text, "positions and ranges separated by commas, such as 0-9,12")
    start, end = int(first), int(last) if dash else int(first)
    if end < start:
        raise ConfigurationError(FIELD, text, f"the range {part} runs backwards")
    return start, end
