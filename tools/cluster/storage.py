"""Runs a real S3 server: versitygw (Apache-2.0), built once into the user's cache."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .binaries import binary
from .processes import Component, ProcessGroup, accepts_connections, free_ports

START_SECONDS = 20.0
REGION = "us-east-1"


@dataclass(frozen=True)
class StorageServer:
    """A running server and its root credentials.

    Attributes:
        component: its process; None if another process started it.
    """

    endpoint: str
    component: Component | None = None
    access_key: str = "test-access"
    secret_key: str = "test-secret"

    def environment(self) -> dict[str, str]:
        """Variables for boto3."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": REGION,
        }

    def client(self) -> Any:
        """A boto3 client of the server's root account."""
        import boto3  # heavy, and only needed here

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=REGION,
        )


def start(
    group: ProcessGroup,
    folder: Path,
    address: str = "127.0.0.1",
    port: int = 0,
    certificate: tuple[Path, Path] | None = None,
) -> StorageServer:
    """Starts a server with its data in `folder`; several may serve the same folder.

    Args:
        group: of its process.
        folder: for its data.
        address: where it listens.
        port: 0 for any free port.
        certificate: certificate and key, to serve by TLS.

    Raises:
        Unavailable: the program is missing and cannot be built.
        DidNotStart: the server did not answer.
    """
    path = binary("versitygw")
    for name in ("data", "meta"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    port = port or free_ports(1, address)[0]
    command = [str(path), "--quiet", "--port", f"{address}:{port}"]
    command += ["--access", StorageServer.access_key, "--secret", StorageServer.secret_key]
    if certificate is not None:
        command += ["--cert", str(certificate[0]), "--key", str(certificate[1])]
    command += ["posix", "--sidecar", str(folder / "meta"), str(folder / "data")]
    component = group.start("versitygw", command)
    component.wait_until(lambda: accepts_connections(address, port), START_SECONDS)
    return StorageServer(f"{'https' if certificate else 'http'}://{address}:{port}", component)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[StorageServer]:
    """A server on a free port of this host, until exit; see :func:`start`."""
    group = ProcessGroup(folder)
    try:
        yield start(group, folder)
    finally:
        group.stop()
