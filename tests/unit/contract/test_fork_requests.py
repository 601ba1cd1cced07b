"""Requests to the fork server arrive one by one, each with its own descriptors."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from scenewright_stages.contract.forks import Request


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection: the executor's and the server's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_requests_that_wait_for_a_busy_server_are_read_one_by_one(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    ours, theirs = ends
    with ExitStack() as files:
        for number in range(3):
            log = files.enter_context((tmp_path / f"{number}.log").open("wb"))
            Request("worker", {"NUMBER": str(number)}, log.fileno(), log.fileno(), log.fileno()).send(ours)
    for number in range(3):
        request = Request.receive(theirs)
        assert request is not None and request.environment == {"NUMBER": str(number)}
        os.write(request.log, b"written")
        request.close()
    assert [(tmp_path / f"{number}.log").read_bytes() for number in range(3)] == [b"written"] * 3


def test_an_executor_that_dies_while_it_asks_ends_the_server(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    reader, writer = os.pipe()
    socket.send_fds(ours, [struct.pack("!Q", 1000)], [writer, writer, writer])
    os.close(writer)
    ours.sendall(b"half")
    ours.close()
    received: list[Request | None] = []
    thread = threading.Thread(target=lambda: received.append(Request.receive(theirs)), daemon=True)
    thread.start()
    thread.join(10)
    assert received == [None]
    # Nobody holds the pipe's other end any more.
    assert os.read(reader, 1) == b""
    os.close(reader)
