"""Pushes the process's counters to the operator from its own thread. Advisory: it never delays or fails a sample."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from scenewright_stages.contract.reports import (
    PROGRESS_PATH,
    PROGRESS_TOKEN_ENVIRONMENT,
    PROGRESS_URL_ENVIRONMENT,
    Push,
)

INTERVAL_SECONDS = 2.0
LONGEST_INTERVAL_SECONDS = 60.0
TIMEOUT_SECONDS = 2.0
LAST_PUSH_SECONDS = 1.0
"""How long the end of the process waits for the last push."""


@dataclass(frozen=True)
class PushTarget:
    """Where to push, and the token's file, which the kubelet renews."""

    url: str
    token_file: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> PushTarget | None:
        """The target that the environment names, if any."""
        url, token = environment.get(PROGRESS_URL_ENVIRONMENT), environment.get(PROGRESS_TOKEN_ENVIRONMENT)
        if not url or not token:
            return None
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            return None
        path = parts.path if parts.path not in ("", "/") else PROGRESS_PATH
        return cls(parts._replace(path=path).geturl(), Path(token))


class Pusher:
    """Pushes until it is closed; errors only lengthen the pauses.

    Args:
        target: of the pushes.
        content: returns the current counters, None before there are any.
        interval: seconds between successful pushes.
    """

    def __init__(
        self, target: PushTarget, content: Callable[[], Push | None], interval: float = INTERVAL_SECONDS
    ) -> None:
        self._target, self._content = target, content
        self._interval = self._pause = interval
        # Imported here, because only Pods push and the import takes 50 ms.
        import urllib3

        self._pool = urllib3.PoolManager(maxsize=1, retries=False)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Pushes the final counters and stops within a second."""
        self._closed.set()
        self._thread.join(LAST_PUSH_SECONDS)

    def _run(self) -> None:
        while not self._closed.wait(self._pause):
            self._pause = self._push(TIMEOUT_SECONDS)
        self._push(LAST_PUSH_SECONDS)

    def _push(self, timeout: float) -> float:
        """Pushes once; returns the pause before the next push."""
        try:
            content = self._content()
            if content is None:
                return self._interval
            status, pause = self._send(content, timeout)
        except Exception:
            # No error of a push, not even a bug here, may affect the work.
            status, pause = 0, None
        if status == HTTPStatus.NO_CONTENT:
            return max(self._interval, min(pause or 0.0, LONGEST_INTERVAL_SECONDS))
        return min(max(self._pause, self._interval) * 2.0, LONGEST_INTERVAL_SECONDS)

    def _send(self, content: Push, timeout: float) -> tuple[int, float | None]:
        """HTTP status, and the pause that the operator asks for."""
        headers = {
            "Authorization": f"Bearer {self._target.token_file.read_text().strip()}",
            "Content-Type": "application/json",
        }
        body = content.model_dump_json(by_alias=True).encode()
        answer = self._pool.request("POST", self._target.url, body=body, headers=headers, timeout=timeout)
        return answer.status, _seconds(answer.headers.get("Retry-After"))


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isdigit() else None
