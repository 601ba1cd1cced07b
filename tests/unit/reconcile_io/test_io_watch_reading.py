"""Nothing of a watch is lost, and kopf's events come in bundles."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scenewright.reconcile.cluster.client import ApiError, Client
from scenewright.reconcile.cluster.connection import Connection
from scenewright.reconcile.cluster.resources import PODS
from scenewright.reconcile.watching import _Letters

PIECES = (1, 16_000, 17_000, 40_000, 70_000, 300_000)


@pytest.mark.parametrize("encrypted", [False, True])
def test_every_line_arrives_in_order_however_it_is_cut(encrypted: bool, tmp_path: Path) -> None:
    lines = [f"{number:05d}".encode() * (size // 5 + 1) for number, size in enumerate(PIECES * 3)]
    content = b"".join(line + b"\n" for line in lines)
    server, trusting = _contexts(tmp_path) if encrypted else (None, None)

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

    assert uvloop.run(_lines(answer, server, trusting)) == lines


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_watch_that_is_cut_is_lost(run: Callable[[Any], Any]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabc\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()

    with pytest.raises(ApiError, match=r"Disconnected|reset|Payload"):
        run(_lines(answer))


Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _lines(
    answer: Answer, server: ssl.SSLContext | None = None, trusting: ssl.SSLContext | None = None
) -> list[bytes]:
    """What the client reads of a watch that a server answers like this."""
    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server)
    port = listening.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting or True)) as session:
        url = f"{'https' if server else 'http'}://localhost:{port}"
        connection = SimpleNamespace(server=url, session=session, authorization=dict)
        async with asyncio.timeout(20):
            return [line async for line in Client(cast(Connection, connection)).watch(PODS, "lab", 10.0)]


def test_events_of_another_thread_come_together_and_in_order() -> None:
    taken: list[tuple[str, Any]] = []

    async def run() -> int:
        turns: list[int] = []
        letters = _Letters(asyncio.get_running_loop(), lambda kind, _type, body: taken.append((kind, body["n"])))
        deliver = letters._deliver
        letters._deliver = lambda: (turns.append(len(taken)), deliver())[1]  # type: ignore[method-assign,func-returns-value]

        def post() -> None:
            for number in range(200):
                letters("SceneJob", {"type": "MODIFIED", "object": {"n": number}})

        thread = threading.Thread(target=post)
        thread.start()
        while len(taken) < 200:
            await asyncio.sleep(0.01)
        thread.join()
        return len(turns)

    assert asyncio.run(run()) < 20
    assert taken == [("SceneJob", number) for number in range(200)]


def test_an_event_that_is_not_understood_costs_no_other_one() -> None:
    taken: list[str] = []

    async def run() -> None:
        letters = _Letters(asyncio.get_running_loop(), lambda _kind, _type, body: taken.append(body["name"]))
        for body in ({}, {"name": "yard"}):
            letters("SceneJob", {"type": "ADDED", "object": body})
        while not taken:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(run(), 10))
    assert taken == ["yard"]


def _contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server that calls itself localhost, and of a client that believes it."""
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
    return server, ssl.create_default_context(cadata=certificate.public_bytes(serialization.Encoding.PEM).decode())
