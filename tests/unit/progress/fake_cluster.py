"""A cluster's token keys, and Pods that hold tokens of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

ISSUER = "https://kubernetes.default.svc.cluster.local"
AUDIENCE = "scenewright-progress"


@dataclass(frozen=True)
class Pod:
    """A Pod as the operator knows it."""

    uid: str = "pod-1"
    name: str = "s-courtyard-00000000-depth-0-abcde"
    namespace: str = "lab"
    step: str = "depth"
    owner_uid: str = "owner-1"
    index: int = 0
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Signer:
    """A private key and its public half as the cluster publishes it."""

    def __init__(self, key_id: str, algorithm: str = "RS256") -> None:
        self.key_id, self.algorithm = key_id, algorithm
        if algorithm == "RS256":
            self.private: Any = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            public = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        else:
            self.private = ec.generate_private_key(ec.SECP256R1())
            public = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        self.public = {**public, "kid": key_id, "use": "sig", "alg": algorithm}

    def sign(self, claims: Mapping[str, Any], **header: Any) -> str:
        """A token with these claims."""
        return jwt.encode(dict(claims), self.private, self.algorithm, headers={"kid": self.key_id, **header})


class Cluster:
    """What the API server answers, and how often it was asked."""

    def __init__(self, *signers: Signer) -> None:
        self.signers = list(signers)
        self.asked: list[str] = []
        self.away = False

    async def fetch(self, path: str) -> Mapping[str, Any]:
        self.asked.append(path)
        if self.away:
            raise ConnectionError("no route")
        if path == "/openid/v1/jwks":
            return {"keys": [signer.public for signer in self.signers]}
        return {"issuer": ISSUER, "jwks_uri": "https://elsewhere"}


def claims_of(pod: Pod, **changes: Any) -> dict[str, Any]:
    """The claims of a Pod's projected token, as Kubernetes 1.34 makes them."""
    now = int(time.time())
    claims = {
        "aud": [AUDIENCE],
        "exp": now + 3600,
        "iat": now,
        "nbf": now,
        "iss": ISSUER,
        "jti": "5f1c",
        "kubernetes.io": {
            "namespace": pod.namespace,
            "node": {"name": "node-1", "uid": "n"},
            "pod": {"name": pod.name, "uid": pod.uid},
            "serviceaccount": {"name": "default", "uid": "s"},
        },
        "sub": f"system:serviceaccount:{pod.namespace}:default",
    }
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}
