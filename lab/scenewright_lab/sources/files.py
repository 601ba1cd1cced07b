"""Reads results through a process of the data plane, which has the libraries for storage and pictures.

This process stays light, and a file that cannot be decoded does not end it. Keys are checked by the store: none leaves
its prefix, by ``..`` or by a symbolic link.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Any

from scenewright.api.raw import Json
from scenewright_lab.sources.interface import NotFound, Unavailable

MODULE = "scenewright_stages.store.serving"
CHUNK = 1 << 20
PATIENCE_SECONDS = 12.0
_MISSING = ("ObjectMissing", "UnsafeKey", "IsADirectoryError")
_THUMBNAIL_BYTES = 24 << 20
"""Of thumbnails in memory: some thousands."""


@dataclass(frozen=True)
class Stat:
    """Size in bytes, version and time (epoch) of a stored file."""

    size: int
    etag: str
    modified: float


class Files:
    """Stored files by URI of the results and key below it."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[tuple[Json, bytes]]] = {}
        self._ids = count()
        self._starting = asyncio.Lock()
        self._thumbnails: OrderedDict[tuple[str, str, str, int], bytes] = OrderedDict()
        self._thumbnail_bytes = 0

    async def close(self) -> None:
        """Ends the process."""
        if self._reader is not None:
            self._reader.cancel()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def head(self, uri: str, key: str) -> Stat:
        """Raises NotFound if there is no such file."""
        found, _ = await self.ask("head", uri=uri, key=key)
        if not found.get("found"):
            raise NotFound(key)
        return Stat(found["size"], found["etag"], found["modified"])

    async def read(self, uri: str, key: str, start: int = 0, length: int = CHUNK) -> bytes:
        """At most `length` bytes from `start`."""
        return (await self.ask("read", uri=uri, key=key, start=start, length=length))[1]

    async def stream(self, uri: str, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end`, which is excluded."""
        while start < end:
            block = await self.read(uri, key, start, min(CHUNK, end - start))
            if not block:
                return
            start += len(block)
            yield block

    async def thumbnail(self, uri: str, key: str, side: int) -> bytes:
        """A small JPEG; empty if none can be made here."""
        etag = (await self.head(uri, key)).etag
        name = (uri, key, etag, side)
        if name not in self._thumbnails:
            self._thumbnails[name] = (await self.ask("thumbnail", uri=uri, key=key, side=side))[1]
            self._thumbnail_bytes += len(self._thumbnails[name])
        self._thumbnails.move_to_end(name)
        while self._thumbnail_bytes > _THUMBNAIL_BYTES:
            self._thumbnail_bytes -= len(self._thumbnails.popitem(last=False)[1])
        return self._thumbnails.get(name, b"")

    async def ask(self, do: str, **request: Any) -> tuple[Json, bytes]:
        """Sends one request to the process.

        Raises:
            NotFound: there is no such object.
            Unavailable: the storage refuses or does not answer in time.
        """
        number = next(self._ids)
        future: asyncio.Future[tuple[Json, bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            process = await self._started()
            if process.stdin is None:
                raise Unavailable("the storage process has no input")
            process.stdin.write(json.dumps({"id": number, "do": do, **request}).encode() + b"\n")
            async with asyncio.timeout(PATIENCE_SECONDS):
                answer, content = await future
        except TimeoutError:
            raise Unavailable(f"{request.get('uri', 'the storage')} does not answer") from None
        finally:
            self._waiting.pop(number, None)
        if problem := answer.get("error"):
            raise (NotFound if answer.get("kind") in _MISSING else Unavailable)(problem)
        return answer, content

    async def _started(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                self._process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", MODULE),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    env={**os.environ, "PYTHONUNBUFFERED": "1"},
                    start_new_session=True,
                    limit=1 << 24,
                )
                self._reader = asyncio.create_task(self._take_answers(self._process))
            return self._process

    async def _take_answers(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        with contextlib.suppress(asyncio.IncompleteReadError, ValueError):
            while line := await process.stdout.readline():
                answer = json.loads(line)
                content = await process.stdout.readexactly(answer["bytes"])
                future = self._waiting.get(answer["id"])
                if future is not None and not future.done():
                    future.set_result((answer, content))
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Unavailable("the storage process has ended"))
