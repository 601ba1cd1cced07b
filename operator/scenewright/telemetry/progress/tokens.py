"""Finds out which Pod a projected service-account token belongs to, without a request to the API server per token.

The cluster's signing keys are cached, and fetched again only if a token names an unknown key.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import jwt

from scenewright.api.raw import RawJson

logger = logging.getLogger(__name__)

KEYS_PATH = "/openid/v1/jwks"
DISCOVERY_PATH = "/.well-known/openid-configuration"
REFRESH_SECONDS = 30.0
"""Minimum time between two requests, however many tokens name unknown keys."""
ALGORITHMS = ("RS256", "ES256", "ES384", "ES512")
"""Algorithms that API servers sign with; never ``none`` or a shared secret."""
LEEWAY_SECONDS = 10.0
MAXIMUM_TOKEN_BYTES = 4096

FetchJson = Callable[[str], Awaitable[RawJson]]


class RefusedPush(Exception):  # noqa: N818 - the Pod's mistake, or nobody's
    """A push was refused, with the label of the metric and the HTTP status of the response."""

    def __init__(self, reason: str, status: int, message: str) -> None:
        self.reason, self.status = reason, status
        super().__init__(message)


class SigningKeys:
    """The cluster's public keys by id, and the issuer of its tokens; `fetch` requests a path of the API server."""

    def __init__(self, fetch: FetchJson, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch, self._clock = fetch, clock
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._lock = asyncio.Lock()
        self.issuer = ""

    async def key(self, key_id: str) -> jwt.PyJWK | None:
        """The key with that id, or None. Fetches unknown keys, but not often."""
        if key_id not in self._keys:
            await self.refresh()
        return self._keys.get(key_id)

    async def refresh(self) -> None:
        """Fetches keys and issuer unless that was tried a moment ago. Keeps the known ones on failure."""
        async with self._lock:
            if self._clock() - self._fetched_at < REFRESH_SECONDS:
                return
            self._fetched_at = self._clock()
            try:
                self.issuer = str((await self._fetch(DISCOVERY_PATH))["issuer"])
                found = jwt.PyJWKSet.from_dict(dict(await self._fetch(KEYS_PATH)))
                self._keys = {key.key_id: key for key in found.keys if key.algorithm_name in ALGORITHMS}
            except Exception as problem:
                # Progress is advisory, so catch anything; the next unknown key tries again.
                logger.warning("the cluster's token keys could not be fetched: %s", problem)


@dataclass(frozen=True)
class PodIdentity:
    """The Pod that a token is bound to; the token becomes invalid with the Pod."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True)
class TokenVerifier:
    """Verifies tokens for one audience with the cluster's public keys."""

    keys: SigningKeys
    audience: str

    async def verify(self, token: str) -> PodIdentity:
        """The Pod that the token is bound to.

        Raises:
            RefusedPush: forged, expired, for another audience or issuer, or not bound to a Pod.
        """
        if not token or len(token) > MAXIMUM_TOKEN_BYTES:
            raise _refused("malformed", "no bearer token of a plausible length")
        try:
            key = await self.keys.key(str(jwt.get_unverified_header(token).get("kid", "")))
            if key is None:
                raise _refused("unknown-key", "signed by a key that the cluster does not have")
            claims = jwt.decode(
                token,
                key,
                # Only the key's own algorithm, so that the token's header cannot choose another.
                algorithms=[key.algorithm_name],
                audience=self.audience,
                issuer=self.keys.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "aud", "iss"]},
            )
            return _identity(claims)
        except jwt.ExpiredSignatureError:
            raise _refused("expired", "the token has expired") from None
        except jwt.InvalidAudienceError:
            raise _refused("audience", f"the token was not made for {self.audience}") from None
        except jwt.InvalidIssuerError:
            raise _refused("issuer", "the token was made by another issuer") from None
        except jwt.InvalidSignatureError:
            raise _refused("forged", "the signature does not fit") from None
        except jwt.PyJWTError as problem:
            raise _refused("malformed", str(problem)) from None


def _identity(claims: RawJson) -> PodIdentity:
    try:
        bound = claims["kubernetes.io"]
        return PodIdentity(str(bound["namespace"]), str(bound["pod"]["name"]), str(bound["pod"]["uid"]))
    except (KeyError, TypeError):
        raise _refused("unbound", "the token is not bound to a Pod") from None


def _refused(reason: str, message: str) -> RefusedPush:
    return RefusedPush(reason, 401, message)
