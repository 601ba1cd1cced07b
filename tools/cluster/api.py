"""A minimal API client for the environments' own calls, without a client library."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 10.0


class ApiError(Exception):
    """The API server refused; ``code`` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Api:
    """A user of an API server.

    Args:
        certificate_authority: file with the server's certificate; the server may create it at startup.
    """

    def __init__(self, server: str, token: str, certificate_authority: Path) -> None:
        self._server = server
        self._token = token
        self._authority = certificate_authority

    def get(self, path: str) -> Any:
        """The object or list at `path`."""
        return self._call("GET", path)

    def create(self, path: str, manifest: dict[str, Any], dry_run: bool = False) -> Any:
        """POSTs to a collection."""
        return self._call("POST", f"{path}?dryRun=All" if dry_run else path, manifest)

    def apply(self, path: str, manifest: dict[str, Any]) -> Any:
        """Server-side apply of one object; `path` ends with its name."""
        query = "?fieldManager=test-environment&force=true"
        return self._call("PATCH", path + query, manifest, "application/apply-patch+yaml")

    def merge(self, path: str, patch: dict[str, Any]) -> Any:
        """JSON merge patch."""
        return self._call("PATCH", path, patch, "application/merge-patch+json")

    def delete(self, path: str) -> Any:
        """DELETE with the server's default propagation."""
        return self._call("DELETE", path)

    def is_ready(self) -> bool:
        """Whether ``/readyz`` succeeds."""
        try:
            self._call("GET", "/readyz", as_json=False)
        except (ApiError, OSError):
            return False
        return True

    def _call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", as_json: bool = True
    ) -> Any:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content_type}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._server + path, data=data, method=method, headers=headers)
        context = ssl.create_default_context(cafile=str(self._authority))
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=context) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, error.read().decode(errors="replace")[:1000]) from None
        return json.loads(text) if as_json else text
