"""Reads stores and makes thumbnails for the web page, in a process of its own with the libraries that this needs.

``python -m scenewright_stages.store.serving`` answers requests, one JSON object per line of standard input:
``{"id": 7, "do": "read", "uri": "s3://scenes/a", "key": "summary.json", "start": 0, "length": 65536}``. An answer is a
JSON line with the id, and the number of bytes that follow it: ``{"id": 7, "bytes": 812}``. Several requests run at
once, so answers come in any order. The process ends when its standard input closes.
"""

from __future__ import annotations

import io
import json
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from scenewright_stages.contract.errors import ScenewrightError
from scenewright_stages.store.errors import ObjectMissing
from scenewright_stages.store.interface import Store
from scenewright_stages.store.looking import Looker, read_object
from scenewright_stages.store.opening import open_store
from scenewright_stages.store.rows import Rows

THREADS = 6
LONGEST_PICTURE_BYTES = 64 << 20
"""Larger pictures get no thumbnail: they would be decoded whole."""
MOST_PIXELS = 100_000_000

Request = Mapping[str, Any]
Answer = tuple[dict[str, Any], bytes]

_store: Callable[[str], Store] = cache(open_store)
_lookers: dict[str, Looker] = {}
_rows: dict[tuple[str, str, str], Rows] = {}
_reading_rows = threading.Lock()


def read(request: Request) -> Answer:
    """Part of an object's content."""
    return {}, _store(request["uri"]).get_range(request["key"], int(request["start"]), int(request["length"]))


def head(request: Request) -> Answer:
    """Size, version and time of an object; ``found`` is false if it does not exist."""
    found = _store(request["uri"]).head(request["key"])
    if found is None:
        return {"found": False}, b""
    return {"found": True, "size": found.size, "etag": found.etag, "modified": found.modified}, b""


def put(request: Request) -> Answer:
    """Writes an object from a local file."""
    _store(request["uri"]).put_file(request["key"], Path(request["file"]))
    return {}, b""


def look(request: Request) -> Answer:
    """The objects below a URI, and what is known of those that have changed since the last look."""
    uri = request["uri"]
    if request.get("fresh") or uri not in _lookers:
        _lookers[uri] = Looker(_store(uri), is_local=not uri.startswith("s3://"))
    return {}, json.dumps(_lookers[uri].look()).encode()


def read_one(request: Request) -> Answer:
    """What is known of the one object whose results lie at a URI."""
    return {}, json.dumps(read_object(_store(request["uri"]), ".", is_local=False)).encode()


def rows(request: Request) -> Answer:
    """A page of a manifest."""
    store, key = _store(request["uri"]), request["key"]
    found = store.head(key)
    if found is None:
        raise ObjectMissing(store.uri_of(key))
    with _reading_rows:
        name = (request["uri"], key, found.etag)
        if name not in _rows:
            _rows.clear()
            _rows[name] = Rows(store, key)
        page = _rows[name].page(int(request["first"]), int(request["count"]), request.get("words", ""))
    return {}, json.dumps(page).encode()


def names(request: Request) -> Answer:
    """Names of the files and folders directly below a key; at most `most`."""
    store, most = _store(request["uri"]), int(request["most"])
    prefix = f"{request['key'].strip('/')}/" if request["key"] else ""
    folders = store.folders(prefix, most)
    files = [found.key[len(prefix) :] for found in islice(store.list(prefix), most)]
    return {"names": sorted({*folders, *(name for name in files if "/" not in name)})}, b""


def thumbnail(request: Request) -> Answer:
    """A picture no larger than `side` pixels, as JPEG; nothing if it cannot be made."""
    # Installed where stages run; the operator's image has no picture library.
    try:
        from PIL import Image, ImageOps
    except ImportError:
        return {"made": False}, b""
    store, key, side = _store(request["uri"]), request["key"], int(request["side"])
    found = store.head(key)
    if found is None or found.size > LONGEST_PICTURE_BYTES:
        return {"made": False}, b""
    try:
        with Image.open(io.BytesIO(store.get_bytes(key))) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                return {"made": False}, b""
            picture.draft("RGB", (side, side))
            small = ImageOps.exif_transpose(picture)
            small.thumbnail((side, side))
            if small.mode not in ("RGB", "L"):
                flat = Image.new("RGB", small.size, (128, 128, 128))
                rgba = small.convert("RGBA")
                flat.paste(rgba, mask=rgba.getchannel("A"))
                small = flat
            written = io.BytesIO()
            small.save(written, "JPEG", quality=82)
    except (OSError, ValueError, Image.DecompressionBombError):
        return {"made": False}, b""
    return {"made": True}, written.getvalue()


OPERATIONS: Mapping[str, Callable[[Request], Answer]] = {
    "read": read,
    "head": head,
    "put": put,
    "look": look,
    "object": read_one,
    "rows": rows,
    "names": names,
    "thumbnail": thumbnail,
}


def answer(request: Request) -> Answer:
    """The answer to one request; an error is an answer too."""
    try:
        return OPERATIONS[request["do"]](request)
    except ScenewrightError as error:
        return {"error": str(error), "kind": type(error).__name__}, b""
    except (OSError, KeyError, ValueError) as error:
        return {"error": f"{type(error).__name__}: {error}", "kind": type(error).__name__}, b""


def main() -> int:
    """Entry point; the exit code."""
    writing = threading.Lock()

    def serve(request: Request) -> None:
        head_line, content = answer(request)
        line = json.dumps({"id": request["id"], "bytes": len(content), **head_line}) + "\n"
        with writing:
            sys.stdout.buffer.write(line.encode() + content)
            sys.stdout.buffer.flush()

    with ThreadPoolExecutor(THREADS) as pool:
        for text in sys.stdin.buffer:
            pool.submit(serve, json.loads(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
