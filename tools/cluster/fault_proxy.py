"""A proxy for an API server that injects faults: refused and delayed requests, cut connections.

It listens on plain HTTP on this host and forwards tokens, so clients only change the server's address.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
import threading
from collections import Counter
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiohttp import web
from yarl import URL

Result = TypeVar("Result")
HOP_BY_HOP = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "upgrade"}
START_SECONDS = 20.0


@dataclass(frozen=True)
class Faults:
    """The faults to inject. Rates are per request, from 0 to 1, and are drawn in the order of the fields.

    Attributes:
        too_many_requests: 429 with ``Retry-After: 1``; the request is not forwarded.
        server_error: 500; the request is not forwarded.
        lost_answer: the request is forwarded, but the connection is cut instead of a response.
        gone: 410 for a later page of a list or the start of a watch; half of the watches get it as an ERROR event in
            the stream. The first page of a list has no resource version, so a real server never answers it with 410.
        latency_seconds: range of the delay of each request.
        watch_seconds: range of the time after which each watch is cut without an end of the stream; None for never.
    """

    too_many_requests: float = 0.0
    server_error: float = 0.0
    lost_answer: float = 0.0
    gone: float = 0.0
    latency_seconds: tuple[float, float] = (0.0, 0.0)
    watch_seconds: tuple[float, float] | None = None


class FaultProxy:
    """A running proxy; created by :meth:`start`.

    Attributes:
        url: for clients.
        faults: the faults to inject from now on; can be replaced at any time.
        injected: number of faults so far by name (fields of :class:`Faults`, and ``dropped_watch``).
        forwarded: number of forwarded requests.
    """

    def __init__(self, upstream: str, certificate_authority: Path, seed: int, faults: Faults) -> None:
        self.url = ""
        self.faults = faults
        self.injected: Counter[str] = Counter()
        self.forwarded = 0
        self._upstream = upstream
        self._authority = certificate_authority
        self._random = random.Random(seed)
        self._watches: set[asyncio.Transport] = set()
        self._loop = asyncio.new_event_loop()
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.ServerRunner | None = None

    @classmethod
    @contextlib.contextmanager
    def start(
        cls, upstream: str, certificate_authority: Path, seed: int, faults: Faults | None = None
    ) -> Iterator[FaultProxy]:
        """A proxy that runs in a thread until exit; prints its seed."""
        print(f"fault proxy: seed {seed}, {faults}")
        proxy = cls(upstream, certificate_authority, seed, faults or Faults())
        thread = threading.Thread(target=proxy._loop.run_forever, name="fault-proxy", daemon=True)
        thread.start()
        try:
            proxy._call(proxy._open())
            yield proxy
        finally:
            proxy._call(proxy._close())
            proxy._loop.call_soon_threadsafe(proxy._loop.stop)
            thread.join()
            proxy._loop.close()

    def drop_watches(self) -> int:
        """Cuts the connections of all open watches; returns their number."""
        return self._call(self._drop_watches())

    def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_SECONDS)

    async def _open(self) -> None:
        context = ssl.create_default_context(cafile=str(self._authority))
        connector = aiohttp.TCPConnector(ssl=context, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        # A plain handler without routes: every path and method is forwarded.
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _close(self) -> None:
        await self._drop_watches()
        if self._session is not None:
            await self._session.close()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _drop_watches(self) -> int:
        dropped = list(self._watches)
        for transport in dropped:
            transport.abort()
        self.injected["dropped_watch"] += len(dropped)
        return len(dropped)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        faults = self.faults
        await asyncio.sleep(self._random.uniform(*faults.latency_seconds))
        fault = self._draw(faults, request)
        if fault in ("too_many_requests", "server_error"):
            return _refusal(*REFUSALS[fault])
        if fault == "gone":
            return await self._gone(request)
        try:
            return await self._forward(request, faults, lose_answer=fault == "lost_answer")
        except aiohttp.ClientError as error:
            return _refusal(502, "BadGateway", f"the API server cannot be reached: {error}")

    def _draw(self, faults: Faults, request: web.BaseRequest) -> str:
        rates = {
            "too_many_requests": faults.too_many_requests,
            "server_error": faults.server_error,
            "lost_answer": faults.lost_answer,
            "gone": faults.gone if _is_watch(request) or "continue" in request.query else 0.0,
        }
        for name, rate in rates.items():
            if rate and self._random.random() < rate:
                self.injected[name] += 1
                return name
        return ""

    async def _gone(self, request: web.BaseRequest) -> web.StreamResponse:
        if not _is_watch(request) or self._random.random() < 0.5:
            return _refusal(*REFUSALS["gone"])
        event = {"type": "ERROR", "object": _status(*REFUSALS["gone"])}
        return web.json_response(event, dumps=lambda value: json.dumps(value) + "\n")

    async def _forward(self, request: web.BaseRequest, faults: Faults, lose_answer: bool) -> web.StreamResponse:
        assert self._session is not None
        self.forwarded += 1
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        url = URL(self._upstream + request.raw_path, encoded=True)
        body = await request.read()
        async with self._session.request(request.method, url, headers=headers, data=body or None) as answer:
            if lose_answer:
                if not _is_watch(request):
                    await answer.read()
                return _cut(request)
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            if _is_watch(request) and answer.status == 200:
                return await self._stream_watch(request, answer, kept, faults)
            return web.Response(status=answer.status, headers=kept, body=await answer.read())

    async def _stream_watch(
        self,
        request: web.BaseRequest,
        answer: aiohttp.ClientResponse,
        headers: Mapping[str, str],
        faults: Faults,
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=answer.status, headers=headers)
        await response.prepare(request)
        transport = request.transport
        if not isinstance(transport, asyncio.Transport):
            return response
        self._watches.add(transport)
        limit = None if faults.watch_seconds is None else self._random.uniform(*faults.watch_seconds)
        try:
            async with asyncio.timeout(limit):
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
        except TimeoutError:
            self.injected["watch_seconds"] += 1
            transport.abort()
        except (ConnectionError, aiohttp.ClientError):
            # The client or the API server is gone: end the stream.
            transport.abort()
        finally:
            self._watches.discard(transport)
        return response


REFUSALS = {
    "too_many_requests": (429, "TooManyRequests", "the server has received too many requests (injected)"),
    "server_error": (500, "InternalError", "an internal error occurred (injected)"),
    "gone": (410, "Expired", "too old resource version (injected)"),
}


def _is_watch(request: web.BaseRequest) -> bool:
    return request.query.get("watch", "").lower() in ("1", "true")


def _status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
    }


def _refusal(code: int, reason: str, message: str) -> web.Response:
    headers = {"Retry-After": "1"} if code == 429 else {}
    return web.json_response(_status(code, reason, message), status=code, headers=headers)


def _cut(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
