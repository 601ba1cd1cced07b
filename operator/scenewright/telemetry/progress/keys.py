"""The keys with which the cluster signs service-account tokens, fetched rarely and kept."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import jwt

logger = logging.getLogger(__name__)

KEYS_PATH = "/openid/v1/jwks"
DISCOVERY_PATH = "/.well-known/openid-configuration"
REFRESH_SECONDS = 30.0
"""At most one request in this time, however many tokens name keys that nobody knows."""

FetchJson = Callable[[str], Awaitable[Mapping[str, Any]]]


class SigningKeys:
    """The cluster's public keys by id, and the issuer that its tokens name.

    Args:
        fetch: the JSON at a path of the API server, asked with the operator's own token.
        clock: seconds that never go back.
    """

    def __init__(self, fetch: FetchJson, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch, self._clock = fetch, clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._lock = asyncio.Lock()
        self.issuer = ""

    async def key(self, key_id: str) -> jwt.PyJWK | None:
        """The key of that id; None when the cluster has none. An unknown one is asked for, but not often."""
        if key_id not in self._keys:
            await self.refresh()
        return self._keys.get(key_id)

    async def refresh(self) -> None:
        """Fetches the keys and the issuer unless that was tried a moment ago. A failure leaves what is known."""
        async with self._lock:
            if self._clock() - self._fetched_at < REFRESH_SECONDS:
                return
            self._fetched_at = self._clock()
            try:
                self.issuer = str((await self._fetch(DISCOVERY_PATH))["issuer"])
                self._keys = _usable(await self._fetch(KEYS_PATH))
            except Exception as problem:
                # Whatever the client raises: progress is advisory, and the next unknown key asks again.
                logger.warning("the cluster's token keys could not be fetched: %s", problem)


def _usable(document: Mapping[str, Any]) -> dict[str, jwt.PyJWK]:
    found: dict[str, jwt.PyJWK] = {}
    for entry in document.get("keys", ()):
        if entry.get("use", "sig") == "sig" and "kid" in entry:
            try:
                found[entry["kid"]] = jwt.PyJWK(entry)
            except jwt.PyJWTError as problem:
                logger.warning("a token key of the cluster cannot be used: %s", problem)
    return found
