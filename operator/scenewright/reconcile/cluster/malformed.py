"""Skips objects that cannot be read: counts each of them and logs it once.

Anybody in a namespace may write labels, annotations and whole Pods. None of these may end a loop of the operator,
which serves everybody.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from scenewright.telemetry.metrics import MALFORMED

logger = logging.getLogger(__name__)

T = TypeVar("T")
_MOST_REMEMBERED = 10_000
_logged: set[str] = set()


def read(project: Callable[[dict[str, Any]], T | None], raw: dict[str, Any], resource: str) -> T | None:
    """The projection of an object; None if it belongs to somebody else or cannot be read."""
    try:
        return project(raw)
    except Exception as error:
        skip(resource, raw, error)
        return None


def skip(resource: str, raw: Any, error: Exception) -> None:
    """Counts an object that cannot be read and logs it once."""
    MALFORMED.labels(resource).inc()
    known = _described(raw)
    if known in _logged:
        return
    if len(_logged) >= _MOST_REMEMBERED:
        _logged.clear()
    _logged.add(known)
    logger.warning("%s %s cannot be read and is skipped: %r", resource, known, error)


def _described(raw: Any) -> str:
    metadata = raw.get("metadata") if isinstance(raw, Mapping) else None
    if not isinstance(metadata, Mapping):
        return repr(raw)[:200]
    return " ".join(str(metadata.get(name))[:253] for name in ("namespace", "name", "uid"))
