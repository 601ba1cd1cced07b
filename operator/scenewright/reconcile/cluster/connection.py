"""Where the API server is and how we prove who we are: the service account in a Pod, else the kubeconfig."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import aiohttp
import kopf

_TOKEN_SECONDS = 60.0
"""Projected tokens are rotated by the kubelet long before they end; reading the file once a minute is enough."""


class Connection:
    """One pool of connections with current credentials.

    Args:
        login: gives the credentials; by default those that kopf itself uses.
    """

    def __init__(self, login: Callable[[], kopf.ConnectionInfo] | None = None) -> None:
        self._login = login or login_as_kopf_does
        self._info = self._login()
        self._read_at = time.monotonic()
        self._session: aiohttp.ClientSession | None = None

    @property
    def server(self) -> str:
        """URL of the API server."""
        return self._info.server.rstrip("/")

    @property
    def session(self) -> aiohttp.ClientSession:
        """The pool; made on first use because it belongs to the running loop."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=64, ssl=self._info.as_ssl_context(), keepalive_timeout=60)
            self._session = aiohttp.ClientSession(
                connector=connector,
                # Compressing costs both sides more than the wire does inside a cluster.
                headers={"User-Agent": "scenewright-operator", "Accept-Encoding": "identity"},
                proxy=self._info.proxy_url,
                trust_env=self._info.trust_env,
                # The API server sets none, and looking for them is a fifth of what a request costs.
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def authorization(self) -> dict[str, str]:
        """Headers that prove who we are, read again once a minute."""
        if time.monotonic() - self._read_at > _TOKEN_SECONDS:
            self.refresh()
        return self._info.as_http_headers()

    def refresh(self) -> None:
        """Reads the credentials again; the connections stay."""
        self._info = self._login()
        self._read_at = time.monotonic()

    async def close(self) -> None:
        """Closes the pool."""
        if self._session is not None:
            await self._session.close()


def login_as_kopf_does(**settings: Any) -> kopf.ConnectionInfo:
    """Credentials of the Pod's service account, else of the kubeconfig.

    Raises:
        kopf.LoginError: there are neither.
    """
    chosen = {"settings": kopf.OperatorSettings(), **settings}
    info = kopf.login_with_service_account(**chosen) or kopf.login_with_kubeconfig(**chosen)
    if info is None:
        raise kopf.LoginError("neither a service account nor a kubeconfig was found; set KUBECONFIG")
    return info
