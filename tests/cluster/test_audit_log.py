"""Reading an API server's audit log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cluster.audit import AuditLog


def line(number: int, user: dict[str, Any], code: int) -> str:
    event = {
        "auditID": str(number), "user": user, "verb": "list", "requestURI": "/api/v1/pods?limit=1",
        "objectRef": {"resource": "pods"}, "responseStatus": {"code": code},
        "requestReceivedTimestamp": "2026-11-21T19:00:00Z", "stageTimestamp": "2026-11-21T19:00:01Z",
    }  # fmt: skip
    return json.dumps(event) + "\n"


def test_a_request_from_nobody_is_read_and_counts_for_nobody(tmp_path: Path) -> None:
    """As a server logs it that was just restarted and does not know its tokens yet."""
    path = tmp_path / "audit.log"
    path.write_text(line(1, {}, 401) + line(2, {"username": "operator"}, 200) + line(2, {"username": "operator"}, 200))
    log = AuditLog(path)
    assert [(request.user, request.code) for request in log.requests()] == [("", 401), ("operator", 200)]
    assert log.counts(user="operator") == {("operator", "list", "pods"): 1}
