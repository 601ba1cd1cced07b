"""Folders of results made cheaply, and the page of one served by a real server in a thread."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from scenewright_lab.app import create
from scenewright_lab.security import COOKIE, Limits
from scenewright_lab.serving import Server
from scenewright_lab.settings import Settings

RUN = "20260101T000000Z-aaaaaaaa-0001"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)


def write_object(
    root: Path,
    name: str,
    *,
    samples: int = 2,
    failures: list[dict[str, str]] | None = None,
    title: str = "",
    sample: str = "sample",
    warnings: list[str] | None = None,
    kind: str = "SceneJob",
) -> Path:
    """A finished object as a run leaves it: manifest, reports, records of publish, pictures and a report page."""
    folder = root / name
    meta = folder / ".scenewright"
    (meta / "runs" / RUN).mkdir(parents=True)
    lost = failures or []
    counts = {"total": samples, "done": samples - len(lost), "failed": len(lost), "seconds": 1.5}
    spec = {"input": {"uri": "file:///in"}, "output": {"uri": folder.as_uri()}, "vistadream": {}}
    manifest = {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": title or name},
        "spec": spec,
    }
    units = {"total": samples, "done": samples - len(lost), "failed": len(lost)}
    report = {"step": "publish", "run": RUN, "samples": samples, "units": units, "stages": {"render": counts}}
    summary = {"name": title or name, "pipeline": "vistadream", "samples": counts, "failures": lost}
    _write(meta / "job.json", json.dumps(manifest))
    _write(meta / "runs" / RUN / "index.report.json", json.dumps({**report, "step": "index", "units": {}}))
    _write(meta / "runs" / RUN / "publish.report.json", json.dumps(report))
    _write(folder / "summary.json", json.dumps({**summary, "backends": [], "warnings": warnings or []}))
    rows = (
        json.dumps(
            {
                "id": f"{sample}{number}",
                "split": "val" if number % 5 == 0 else "train",
                "files": {"render/contact_sheet": {"path": "a/picture.png"}},
            }
        )
        for number in range(samples)
    )
    _write(folder / "manifest.jsonl", "\n".join(rows) + "\n")
    (folder / "a").mkdir(exist_ok=True)
    (folder / "a" / "picture.png").write_bytes(PNG)
    _write(folder / "report.html", "<!doctype html><title>r</title><p>report</p>")
    _write(meta / "published.json", json.dumps({"run": RUN, "hash": "0" * 16}))
    return folder


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


@dataclass
class Answer:
    """A response of the page."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


@dataclass
class Site:
    """A served page, and requests as a browser would send them."""

    port: int
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        return self._send(method, path, b"", headers)

    def post(self, path: str, form: dict[str, str], **headers: str) -> Answer:
        sent = {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.url, **headers}
        return self._send("POST", path, urlencode(form).encode(), sent)

    def token(self, path: str) -> str:
        """The token of the first form of a page."""
        found = re.search(r'name="csrf" value="([0-9a-f]+)"', self.get(path).text)
        return found[1] if found else ""

    def _send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        cookie = {"Cookie": f"{COOKIE}={self.cookie}"} if self.cookie else {}
        sent = {**self.headers, **cookie, **{name.replace("_", "-"): each for name, each in headers.items()}}
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        connection.close()
        if found := re.match(rf"{COOKIE}=([^;]+)", answer.headers.get("set-cookie", "")):
            self.cookie = found[1]
        return answer


@contextlib.contextmanager
def serving(
    settings: Settings, reads: Limits | None = None, writes: Limits | None = None, port: int = 0
) -> Iterator[Site]:
    """The page of these settings on this port, or on a free one."""
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(("127.0.0.1", port))
        port = found.getsockname()[1]
    wide = Limits(rate=1e6, burst=1e6)
    app = create(settings, reads or wide, writes or Limits(rate=1e6, burst=1e6))
    server = Server(app, "127.0.0.1", port)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline and thread.is_alive():
        time.sleep(0.02)
    assert server.started
    try:
        yield Site(port)
    finally:
        server.should_exit = True
        thread.join(30)
