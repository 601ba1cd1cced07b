"""Users, tokens, keys and kubeconfigs of a test cluster.

People and components use static tokens, so that no certificate authority is needed. The API server creates its own
serving certificate; service-account tokens are signed with a key created here.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

MASTERS = "system:masters"


@dataclass(frozen=True)
class User:
    """A user with a static token."""

    name: str
    groups: tuple[str, ...] = ()
    token: str = field(default_factory=lambda: secrets.token_hex(16))


def control_plane_users(nodes: tuple[str, ...] = ()) -> dict[str, User]:
    """The users of a cluster by short name, with one for each real node's kubelet."""
    users = {
        "admin": User("admin", (MASTERS,)),
        "kube-controller-manager": User("system:kube-controller-manager", (MASTERS,)),
        "kube-scheduler": User("system:kube-scheduler"),
        "kwok": User("kwok", (MASTERS,)),
    }
    if nodes:
        users |= {"kube-proxy": User("system:kube-proxy"), "coredns": User("coredns", (MASTERS,))}
    return users | {node: User(f"system:node:{node}", ("system:nodes",)) for node in nodes}


def write_token_file(path: Path, users: dict[str, User]) -> None:
    """Writes the file for the API server's ``--token-auth-file``."""
    lines = [f'{user.token},{user.name},{user.name},"{",".join(user.groups)}"' for user in users.values()]
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)


def write_service_account_key(path: Path) -> None:
    """Creates the RSA key that signs service-account tokens."""
    subprocess.run(["openssl", "genrsa", "-out", str(path), "2048"], check=True, capture_output=True)


def write_kubeconfig(path: Path, server: str, token: str, certificate_authority: Path | None = None) -> Path:
    """Writes a user's kubeconfig as JSON, which is valid YAML. Without an authority the server uses plain HTTP."""
    cluster: dict[str, str] = {"server": server}
    if certificate_authority is not None:
        cluster["certificate-authority"] = str(certificate_authority)
    name = "scenewright-test"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
        "current-context": name,
    }
    path.write_text(json.dumps(document, indent=1) + "\n")
    path.chmod(0o600)
    return path
