"""Reads a watch a few times a second: to wake up for each event costs more than to take it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import aiohttp

_GATHER_SECONDS = 0.2
_MUCH = 16 * 1024
"""Bytes at once after which a watch is read on without a pause."""
_WAKING = 256 * 1024
"""Bytes for which a pause is interrupted: what one read of the event loop takes."""


async def gathered(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """What comes in, a few times a second while it is little; much is read on at once: no watch may fall behind."""
    async for chunk in response.content.iter_any():
        yield chunk
        if len(chunk) < _MUCH:
            with _waking_for_much(response):
                await asyncio.sleep(_GATHER_SECONDS)


@contextlib.contextmanager
def _waking_for_much(response: aiohttp.ClientResponse) -> Iterator[None]:
    """Has the kernel keep what comes in, which otherwise wakes the event loop for each event although nobody reads.

    When the block ends, Linux (4.18 and later) tells at once of what has gathered; elsewhere a watch is late by
    the next event at most.
    """
    transport = response.connection.transport if response.connection else None
    connected: socket.socket | None = transport.get_extra_info("socket") if transport else None
    _wake_at(connected, _WAKING)
    try:
        yield
    finally:
        _wake_at(connected, 1)


def _wake_at(connected: socket.socket | None, size: int) -> None:
    if connected is not None:
        # It may have been closed during the pause; uvloop's has no descriptor then, which is a wrong value.
        with contextlib.suppress(OSError, ValueError):
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
