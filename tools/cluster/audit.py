"""Reads requests from the API server's audit log, from a mark on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Request:
    """One request. A watch counts as one request, at its start.

    Attributes:
        resource: with subresource, as in ``scenejobs/status``; the path if the request has no resource.
        code: HTTP status.
        received_at, answered_at: times of request and response (for a watch, of its start).
    """

    user: str
    verb: str
    resource: str
    namespace: str
    name: str
    code: int
    user_agent: str
    received_at: datetime
    answered_at: datetime


class AuditLog:
    """The API server's audit log of level Metadata."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mark(self) -> int:
        """The current end of the log, to count from."""
        return self.path.stat().st_size if self.path.exists() else 0

    def requests(self, since: int = 0, user: str | None = None) -> Iterator[Request]:
        """The requests after a mark, in the order of the log."""
        seen: set[str] = set()
        for event in self._events(since):
            # A watch is logged twice, at its start and its end.
            if event["auditID"] in seen or user not in (None, _user(event)):
                continue
            seen.add(event["auditID"])
            yield _request(event)

    def counts(self, since: int = 0, user: str | None = None) -> Counter[tuple[str, str, str]]:
        """Number of requests by (user, verb, resource) after a mark."""
        return Counter((request.user, request.verb, request.resource) for request in self.requests(since, user))

    def _events(self, since: int) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(since)
            for line in file:
                if line.endswith(b"\n"):
                    yield json.loads(line)


def _user(event: dict[str, Any]) -> str:
    """Name of the user; empty for an unauthenticated request."""
    return str(event["user"].get("username", ""))


def _request(event: dict[str, Any]) -> Request:
    reference = event.get("objectRef") or {}
    parts = (reference.get("resource", ""), reference.get("subresource", ""))
    return Request(
        user=_user(event),
        verb=event["verb"],
        resource="/".join(part for part in parts if part) or event["requestURI"].partition("?")[0],
        namespace=reference.get("namespace", ""),
        name=reference.get("name", ""),
        code=(event.get("responseStatus") or {}).get("code", 0),
        user_agent=event.get("userAgent", ""),
        received_at=datetime.fromisoformat(event["requestReceivedTimestamp"]),
        answered_at=datetime.fromisoformat(event["stageTimestamp"]),
    )
