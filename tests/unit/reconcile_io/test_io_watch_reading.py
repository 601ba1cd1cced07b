"""Nothing of a watch is lost."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from kubernetes.aio.client import Configuration

from scenewright.kube.client import ApiError, Client
from scenewright.kube.connection import Connection
from scenewright.kube.resources import PODS

PIECES = (1, 16_000, 17_000, 40_000, 70_000, 300_000)


@pytest.mark.parametrize("encrypted", [False, True])
def test_every_line_arrives_in_order_however_it_is_cut(encrypted: bool, tmp_path: Path) -> None:
    lines = [f"{number:05d}".encode() * (size // 5 + 1) for number, size in enumerate(PIECES * 3)]
    content = b"".join(line + b"\n" for line in lines)
    server, trusted = _server(tmp_path) if encrypted else (None, None)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        at = 0
        # Pieces smaller than, about as large as and larger than a record of TLS.
        for size in [5_000, 16_384, 16_385, 33_000] * len(content):
            piece = content[at : at + size]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
            at += size
            if not piece:
                break
        writer.close()

    assert asyncio.run(_lines(answer, server, trusted)) == lines


def test_a_watch_that_is_cut_is_lost() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabc\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    with pytest.raises(ApiError, match=r"Disconnected|reset|Payload"):
        asyncio.run(_lines(answer))


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _lines(answer: Answer, server: ssl.SSLContext | None = None, trusted: str | None = None) -> list[bytes]:
    """What the client reads of a watch that a server answers like this."""
    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server)
    port = listening.sockets[0].getsockname()[1]
    configuration = Configuration(host=f"{'https' if server else 'http'}://localhost:{port}", ca_cert_data=trusted)
    connection = Connection(configuration)
    try:
        async with asyncio.timeout(20):
            return [line async for line in Client(connection).watch(PODS, "lab", 10.0)]
    finally:
        await connection.close()


def _server(folder: Path) -> tuple[ssl.SSLContext, str]:
    """Context of a server that calls itself localhost, and the certificate by which a client believes it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "server.pem"
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, certificate.public_bytes(serialization.Encoding.PEM).decode()
