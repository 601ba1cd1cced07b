"""Which Pod a projected service-account token belongs to, found out without asking the API server."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt

from scenewright.telemetry.progress.keys import SigningKeys
from scenewright.telemetry.progress.refusals import RefusedPush

__all__ = ["PodIdentity", "RefusedPush", "TokenVerifier"]

ALGORITHMS = ("RS256", "ES256", "ES384", "ES512")
"""What API servers sign with; ``none`` and shared secrets are not among them."""
LEEWAY_SECONDS = 10.0
MAXIMUM_TOKEN_BYTES = 4096
REMEMBERED = 4096


@dataclass(frozen=True)
class PodIdentity:
    """The Pod to which a token is bound; it ends with the Pod."""

    namespace: str
    name: str
    uid: str


class TokenVerifier:
    """Verifies tokens by the cluster's public keys, and remembers those that it has verified until they expire.

    Args:
        keys: of the cluster.
        audience: that tokens must have been made for.
        clock: seconds since the epoch.
    """

    def __init__(self, keys: SigningKeys, audience: str, clock: Callable[[], float] = time.time) -> None:
        self._keys, self._audience, self._clock = keys, audience, clock
        self._verified: OrderedDict[bytes, tuple[PodIdentity, float]] = OrderedDict()

    async def verify(self, token: str) -> PodIdentity:
        """The Pod that the token is bound to.

        Raises:
            RefusedPush: forged, expired, for another audience or issuer, or not bound to a Pod.
        """
        if not token or len(token) > MAXIMUM_TOKEN_BYTES:
            raise _refused("malformed", "no bearer token of a plausible length")
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is not None and known[1] > self._clock():
            return known[0]
        claims = _claims(token, await self._key_of(token), self._audience, self._keys.issuer, self._clock())
        identity = _identity(claims)
        self._remember(digest, identity, float(claims["exp"]))
        return identity

    async def _key_of(self, token: str) -> jwt.PyJWK:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as problem:
            raise _refused("malformed", str(problem)) from None
        key = await self._keys.key(str(header.get("kid", "")))
        if key is None:
            raise _refused("unknown-key", "signed by a key that the cluster does not have")
        return key

    def _remember(self, digest: bytes, identity: PodIdentity, expires: float) -> None:
        self._verified[digest] = (identity, expires)
        self._verified.move_to_end(digest)
        if len(self._verified) > REMEMBERED:
            self._verified.popitem(last=False)


def _claims(token: str, key: jwt.PyJWK, audience: str, issuer: str, now: float) -> dict[str, Any]:
    # Times are compared here, against the given clock; the library's own is the wall clock.
    options: Any = {
        "require": ["exp", "iat", "aud", "iss"],
        "verify_exp": False,
        "verify_iat": False,
        "verify_nbf": False,
    }
    try:
        claims: dict[str, Any] = jwt.decode(
            token, key.key, algorithms=_algorithms(key), audience=audience, issuer=issuer, options=options
        )
    except jwt.InvalidAudienceError:
        raise _refused("audience", f"the token was not made for {audience}") from None
    except jwt.InvalidIssuerError:
        raise _refused("issuer", "the token was made by another issuer") from None
    except jwt.InvalidSignatureError:
        raise _refused("forged", "the signature does not fit") from None
    except jwt.PyJWTError as problem:
        raise _refused("malformed", str(problem)) from None
    _check_times(claims, now)
    return claims


def _algorithms(key: jwt.PyJWK) -> list[str]:
    """The one algorithm of the key, so that the token's header has no say in it."""
    return [name for name in ALGORITHMS if name == key.algorithm_name]


def _check_times(claims: dict[str, Any], now: float) -> None:
    try:
        begins, ends = float(claims.get("nbf", claims["iat"])), float(claims["exp"])
    except (TypeError, ValueError):
        raise _refused("malformed", "times must be numbers") from None
    if ends + LEEWAY_SECONDS < now:
        raise _refused("expired", "the token has expired")
    if begins - LEEWAY_SECONDS > now:
        raise _refused("malformed", "the token is not valid yet")


def _identity(claims: dict[str, Any]) -> PodIdentity:
    try:
        bound = claims["kubernetes.io"]
        return PodIdentity(str(bound["namespace"]), str(bound["pod"]["name"]), str(bound["pod"]["uid"]))
    except (KeyError, TypeError):
        raise _refused("unbound", "the token is not bound to a Pod") from None


def _refused(reason: str, message: str) -> RefusedPush:
    return RefusedPush(reason, 401, message)
