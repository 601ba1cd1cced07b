"""Points in time as the status writes them, and the soonest of several waits."""

from __future__ import annotations

from datetime import UTC, datetime


def text_of(moment: datetime) -> str:
    """RFC 3339 in UTC, to the second, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(text: str) -> datetime | None:
    """The inverse of :func:`text_of`; None for an empty text or one that is no time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def seconds_between(earlier: datetime, later: datetime) -> float:
    """Seconds from one moment to another; never negative, for clocks of two machines differ."""
    return max(0.0, (later - earlier).total_seconds())


def soonest(*waits: float | None) -> float | None:
    """The shortest of the waits that there are, at least a second; None when there is none."""
    given = [wait for wait in waits if wait is not None]
    return max(1.0, min(given)) if given else None
