"""Sends files: results in their sandbox with ranges, thumbnails, the page's own styles and scripts, and events."""

from __future__ import annotations

import asyncio
import mimetypes
import re
from collections.abc import AsyncIterator
from functools import cache
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from scenewright_lab.pages.rendering import Lab, lab_of, person_of
from scenewright_lab.security import FILE_POLICY
from scenewright_lab.sources.interface import Entry, NotFound, Person

SIDES = (160, 320, 640)
HEARTBEAT_SECONDS = 15.0
_STATIC = Path(__file__).parent / "static"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})(?<!bytes=-)")
_SHOWN = ("text/html", "image/jpeg", "image/png", "image/webp", "image/gif", "image/avif", "video/mp4", "video/webm")
"""Types that a browser may show in the sandbox; all others are downloads."""
_PLAIN = (".json", ".jsonl", ".csv", ".txt", ".md", ".log", ".yaml")


async def _file(request: Request) -> tuple[Lab, Entry, str]:
    """The object and the key below its results that a URL names: ``ID/-/KEY``."""
    lab, person = lab_of(request), person_of(request)
    name, mark, key = request.path_params["path"].partition("/-/")
    entry = await lab.source.entry(person, name)
    if not mark or not entry.uri or any(part in ("", ".", "..") for part in key.split("/")) or "\\" in key:
        raise NotFound(key)
    return lab, entry, key


async def send_file(request: Request) -> Response:
    """A file of the results, whole or in part."""
    lab, entry, key = await _file(request)
    found = await lab.files.head(entry.uri, key)
    kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
    if key.endswith(_PLAIN):
        kind = "text/plain; charset=utf-8"
    shown = (kind in _SHOWN or kind.startswith("text/plain")) and "download" not in request.query_params
    filename = quote(key.rpartition("/")[2])
    headers = {
        "Content-Security-Policy": FILE_POLICY,
        "Content-Disposition": f"{'inline' if shown else 'attachment'}; filename*=UTF-8''{filename}",
        "Accept-Ranges": "bytes",
        "ETag": f'"{found.etag}"',
        "Cache-Control": "private, no-cache",
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    start, end, status = 0, found.size, 200
    wanted = _RANGE.fullmatch(request.headers.get("range", "").strip())
    # Other forms of the header are ignored, as the standard allows.
    if wanted and request.headers.get("if-range", headers["ETag"]) == headers["ETag"]:
        part = _range(wanted[1], wanted[2], found.size)
        if part is None:
            return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{found.size}"})
        start, end, status = *part, 206
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{found.size}"
    headers["Content-Length"] = str(end - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=kind)
    return StreamingResponse(lab.files.stream(entry.uri, key, start, end), status, headers, media_type=kind)


def _range(first: str, last: str, size: int) -> tuple[int, int] | None:
    """Start and end, which is excluded, of a range; None if the file has nothing of it."""
    if not first:
        return (max(0, size - int(last)), size) if int(last) and size else None
    start, end = int(first), min(int(last or size), size - 1) + 1
    return (start, end) if start < end else None


async def send_thumbnail(request: Request) -> Response:
    """A small version of a picture, or the picture itself where none can be made."""
    lab, entry, key = await _file(request)
    wanted = request.query_params.get("side", "320")
    side = int(wanted) if wanted.isdecimal() and int(wanted) in SIDES else SIDES[1]
    data = await lab.files.thumbnail(entry.uri, key, side)
    if not data:
        return await send_file(request)
    headers = {"Content-Security-Policy": FILE_POLICY, "Cache-Control": "private, max-age=60"}
    return Response(data, headers=headers, media_type="image/jpeg")


@cache
def _static() -> dict[str, tuple[bytes, str]]:
    """The page's own files by name. The style of the report pages comes first, so that both look like one product."""
    report = resources.files("scenewright_stages") / "report" / "templates" / "report.css"
    style = report.read_bytes() + b"\n" + (_STATIC / "lab.css").read_bytes()
    return {
        "lab.css": (style, "text/css"),
        "lab.js": ((_STATIC / "lab.js").read_bytes(), "text/javascript"),
        "icon.svg": ((_STATIC / "icon.svg").read_bytes(), "image/svg+xml"),
    }


async def send_static(request: Request) -> Response:
    """The page's own style, script and icon."""
    found = _static().get(request.path_params["name"])
    if found is None:
        raise NotFound("static")
    return Response(found[0], media_type=found[1], headers={"Cache-Control": "max-age=60"})


async def send_health(request: Request) -> Response:
    """Whether the server answers; says nothing about the objects."""
    return PlainTextResponse("ok")


async def send_events(request: Request) -> Response:
    """Server-sent events: one with the version whenever something has changed. The page then asks for what it shows."""
    lab, person = lab_of(request), person_of(request)
    return StreamingResponse(_events(lab, person), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _events(lab: Lab, person: Person) -> AsyncIterator[str]:
    known = lab.source.version
    yield f"retry: 2000\nevent: version\ndata: {known}\n\n"
    closing = asyncio.create_task(lab.closing.wait())
    try:
        while not closing.done():
            waiting = asyncio.create_task(lab.source.wait(known, HEARTBEAT_SECONDS))
            await asyncio.wait({waiting, closing}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                waiting.cancel()
                return
            version = waiting.result()
            yield f"event: version\ndata: {version}\n\n" if version != known else ": still here\n\n"
            known = version
            # Many changes at once are one event.
            await asyncio.sleep(0.3)
    finally:
        closing.cancel()
