"""Tokens: only a live one, of this cluster, for this audience, bound to a Pod, is taken."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from fake_cluster import AUDIENCE, Cluster, Pod, Signer, claims_of

from scenewright.telemetry.progress.tokens import PodIdentity, RefusedPush, SigningKeys, TokenVerifier


@cache
def signer(key_id: str = "key-1", algorithm: str = "RS256") -> Signer:
    return Signer(key_id, algorithm)


def verified(token: str, cluster: Cluster | None = None) -> PodIdentity:
    keys = SigningKeys((cluster or Cluster(signer())).fetch)
    return asyncio.run(TokenVerifier(keys, AUDIENCE).verify(token))


def refusal(token: str) -> str:
    with pytest.raises(RefusedPush) as caught:
        verified(token)
    assert caught.value.status == 401
    return caught.value.reason


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_a_pods_own_token_names_the_pod(algorithm: str) -> None:
    own = signer("key-2", algorithm)
    assert verified(own.sign(claims_of(Pod())), Cluster(own)) == PodIdentity("lab", Pod().name, "pod-1")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": int(time.time()) - 60}, "expired"),
        ({"aud": ["https://kubernetes.default.svc"]}, "audience"),
        ({"aud": None}, "malformed"),
        ({"iss": "https://other.cluster"}, "issuer"),
        ({"nbf": int(time.time()) + 86_400}, "malformed"),
        ({"exp": None}, "malformed"),
        ({"exp": "tomorrow"}, "malformed"),
        ({"kubernetes.io": None}, "unbound"),
        ({"kubernetes.io": {"namespace": "lab", "serviceaccount": {"name": "default"}}}, "unbound"),
    ],
)
def test_claims_that_do_not_fit_are_refused(changes: dict[str, Any], reason: str) -> None:
    assert refusal(signer().sign(claims_of(Pod(), **changes))) == reason


def test_another_clusters_key_under_the_same_id_is_refused() -> None:
    assert refusal(Signer("key-1").sign(claims_of(Pod()))) == "forged"


def test_a_changed_claim_is_refused() -> None:
    header, _, signature = signer().sign(claims_of(Pod())).split(".")
    other = base64.urlsafe_b64encode(json.dumps(claims_of(Pod(uid="pod-2"))).encode()).rstrip(b"=").decode()
    assert refusal(f"{header}.{other}.{signature}") == "forged"


def test_a_token_without_signature_is_refused() -> None:
    token = jwt.encode(claims_of(Pod()), key=None, algorithm="none", headers={"kid": "key-1"})
    assert refusal(token) == "malformed"


def test_the_public_key_is_no_shared_secret() -> None:
    public = (
        signer()
        .private.public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "kid": "key-1"}, claims_of(Pod()))]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(public, signed, "sha256")).rstrip(b"=")
    assert refusal(f"{signed.decode()}.{signature.decode()}") == "malformed"


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é" * 10, "y" * 5000])
def test_what_is_no_token_is_refused(token: str) -> None:
    assert refusal(token) == "malformed"


def test_unknown_keys_ask_the_api_server_rarely() -> None:
    cluster, clock = Cluster(signer()), [0.0]
    keys = SigningKeys(cluster.fetch, lambda: clock[0])

    async def ask_often() -> None:
        for number in range(1000):
            assert await keys.key(f"made-up-{number}") is None
            clock[0] += 0.01

    asyncio.run(ask_often())
    assert cluster.asked.count("/openid/v1/jwks") == 1


def test_a_rotated_key_is_found_after_a_while() -> None:
    cluster, clock = Cluster(signer()), [0.0]
    keys = SigningKeys(cluster.fetch, lambda: clock[0])
    verifier = TokenVerifier(keys, AUDIENCE)
    token = signer("key-9").sign(claims_of(Pod()))

    async def rotate() -> PodIdentity:
        await keys.refresh()
        cluster.signers.append(signer("key-9"))
        with pytest.raises(RefusedPush):
            await verifier.verify(token)
        clock[0] += 31.0
        return await verifier.verify(token)

    assert asyncio.run(rotate()).uid == "pod-1"


def test_an_api_server_that_is_away_leaves_the_known_keys() -> None:
    cluster, clock = Cluster(signer()), [0.0]
    keys = SigningKeys(cluster.fetch, lambda: clock[0])

    async def go_away() -> bool:
        await keys.refresh()
        cluster.away, clock[0] = True, 60.0
        assert await keys.key("made-up") is None
        return await keys.key("key-1") is not None

    assert asyncio.run(go_away())
