"""A local web page for setting a box and points, with a live preview of the cut-out.

It listens on the loopback address only. Its URL contains a secret and requests must have the matching Host header, so
no other page in the browser can read the photo or write the mask.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from scenewright_stages.backends.segment.interface import SubjectPoint
from scenewright_stages.reference.masking import Hints, MaskMaker, UnclearError, save_mask

_LARGEST = 100_000
"""Bytes of a request."""


class MaskServer(ThreadingHTTPServer):
    """Serves one photo until its mask is saved.

    Args:
        maker: cuts the photo.
        hints: initial hints.
        target: path of the mask to write.
        port: 0 for any free port.
    """

    daemon_threads = True

    def __init__(self, maker: MaskMaker, hints: Hints, target: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.maker, self.hints, self.target = maker, hints, target
        self.secret = secrets.token_urlsafe(16)
        self.cutting = threading.Lock()

    @property
    def host(self) -> str:
        """The expected Host header: address and port."""
        return f"127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        """URL of the page."""
        return f"http://{self.host}/{self.secret}/"

    def preview(self, wanted: Mapping[str, Any]) -> bytes:
        """The mask as a PNG, (H, W) with 255 on the object. Raises UnclearError."""
        with self.cutting:
            mask = self.maker.mask(read_hints(wanted))
        return png(mask.astype(np.uint8) * np.uint8(255))

    def save(self, wanted: Mapping[str, Any]) -> str:
        """Writes the mask and returns a message with its path. Raises UnclearError."""
        with self.cutting:
            mask = self.maker.mask(read_hints(wanted))
        save_mask(mask, self.target)
        threading.Thread(target=self.shutdown, daemon=True).start()
        return str(self.target)


class _Handler(BaseHTTPRequestHandler):
    server: MaskServer

    def do_GET(self) -> None:
        """Serves the page and its photo."""
        if not self._allowed():
            return
        name = self.path.removeprefix(f"/{self.server.secret}/")
        if name == "":
            self._answer(HTTPStatus.OK, page(self.server.hints), "text/html; charset=utf-8")
        elif name == "photo.png":
            self._answer(HTTPStatus.OK, png(self.server.maker.photo.pixels[..., ::-1]), "image/png")
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"no such page", "text/plain")

    def do_POST(self) -> None:
        """Returns a preview, or saves the mask."""
        if not self._allowed():
            return
        try:
            length = int(self.headers.get("Content-Length", "0"))
            if not 0 < length <= _LARGEST:
                raise ValueError("the request is empty or too long")
            wanted = json.loads(self.rfile.read(length))
            name = self.path.removeprefix(f"/{self.server.secret}/")
            if name == "preview":
                self._answer(HTTPStatus.OK, self.server.preview(wanted), "image/png")
            elif name == "save":
                self._answer(HTTPStatus.OK, self.server.save(wanted).encode(), "text/plain; charset=utf-8")
            else:
                self._answer(HTTPStatus.NOT_FOUND, b"no such page", "text/plain")
        except UnclearError as unclear:
            self._answer(HTTPStatus.UNPROCESSABLE_ENTITY, str(unclear).encode(), "text/plain; charset=utf-8")
        except (ValueError, TypeError, KeyError) as mistake:
            self._answer(HTTPStatus.BAD_REQUEST, str(mistake).encode(), "text/plain; charset=utf-8")

    def log_message(self, format: str, *args: Any) -> None:
        """Suppresses the request log."""

    def _allowed(self) -> bool:
        ours = self.headers.get("Host") == self.server.host
        if ours and self.path.startswith(f"/{self.server.secret}/"):
            return True
        self._answer(HTTPStatus.FORBIDDEN, b"use the address that the command printed", "text/plain")
        return False

    def _answer(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)


def serve(maker: MaskMaker, hints: Hints, target: Path, port: int) -> int:
    """Serves the page until the mask is saved; returns the exit code."""
    with MaskServer(maker, hints, target, port) as server:
        print(f"open {server.url}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 130
    print(f"{target}: saved")
    return 0


def page(hints: Hints) -> bytes:
    """The page with the initial hints."""
    text = resources.files("scenewright_stages.reference").joinpath("mask_page.html").read_text(encoding="utf-8")
    start = {
        "box": list(hints.box) if hints.box else None,
        "points": [[point.x, point.y, int(point.inside)] for point in hints.points],
    }
    return text.replace("/*START*/", json.dumps(start)).encode()


def read_hints(wanted: Mapping[str, Any]) -> Hints:
    """Parses the hints of a request. Raises ValueError, TypeError or KeyError if they are malformed."""
    box = wanted["box"]
    if box is not None:
        left, top, right, bottom = (float(edge) for edge in box)
        if not (left < right and top < bottom):
            raise ValueError("the box must be left, top, right, bottom")
        box = (left, top, right, bottom)
    return Hints(box, tuple(SubjectPoint(float(x), float(y), bool(inside)) for x, y, inside in wanted["points"]))


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    """Grey or BGR pixels as a PNG file."""
    return bytes(cv2.imencode(".png", np.ascontiguousarray(pixels), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])
