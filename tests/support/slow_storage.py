"""A proxy in front of an S3 server that answers late, passes few bytes a second, and can be taken away for a while."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

Result = TypeVar("Result")
BLOCK_BYTES = 16 << 10
CALL_SECONDS = 20.0


class SlowStorage:
    """A running proxy; made by :meth:`before`.

    Args:
        host, port: of the server behind it.
        answer_seconds: every answer comes so much later.
        bytes_per_second: of each connection, in each direction.

    Attributes:
        url: where clients connect; stays the same while the storage is away.
        answer_seconds: may be changed at any time; counts for answers that are not being delayed yet.
        answers: how many were delayed so far.
        cut: connections that :meth:`take_away` has ended.
    """

    def __init__(self, host: str, port: int, answer_seconds: float, bytes_per_second: float) -> None:
        self._server_address = (host, port)
        self.answer_seconds, self._bytes_per_second = answer_seconds, bytes_per_second
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.answers = self.cut = 0

    @classmethod
    @contextlib.contextmanager
    def before(cls, endpoint: str, answer_seconds: float, bytes_per_second: float) -> Iterator[SlowStorage]:
        """A proxy before ``http://host:port`` that runs in a thread of this process until the exit."""
        host, _, port = endpoint.removeprefix("http://").partition(":")
        proxy = cls(host, int(port), answer_seconds, bytes_per_second)
        thread = threading.Thread(target=proxy._loop.run_forever, name="slow-storage", daemon=True)
        thread.start()
        try:
            proxy.bring_back()
            yield proxy
        finally:
            proxy.take_away()
            proxy._loop.call_soon_threadsafe(proxy._loop.stop)
            thread.join()
            proxy._loop.close()

    def take_away(self) -> None:
        """Cuts all connections, and refuses new ones."""
        self._call(self._take_away())

    def bring_back(self) -> None:
        """Takes connections (again)."""
        self._call(self._listen())

    def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, backlog=512)
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def _take_away(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._open:
            writer.transport.abort()
        self.cut += len(self._open)
        await asyncio.sleep(0.1)  # for the tasks of the connections to end

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection(*self._server_address)
            asked = asyncio.Event()
            ways = [
                asyncio.ensure_future(self._requests(reader, upstream, asked)),
                asyncio.ensure_future(self._answers(answers, writer, asked)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass  # The server behind is gone: so is the connection to it.
        finally:
            self._open.discard(writer)
            for end in (writer, upstream):
                if end is not None:
                    end.transport.abort()

    async def _requests(
        self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter, asked: asyncio.Event
    ) -> None:
        while block := await reader.read(BLOCK_BYTES):
            asked.set()
            await self._pass(block, upstream)

    async def _answers(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: asyncio.Event) -> None:
        while block := await answers.read(BLOCK_BYTES):
            if asked.is_set():
                asked.clear()
                self.answers += 1
                await asyncio.sleep(self.answer_seconds)
            await self._pass(block, writer)

    async def _pass(self, block: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(block)
        await writer.drain()
        await asyncio.sleep(len(block) / self._bytes_per_second)
