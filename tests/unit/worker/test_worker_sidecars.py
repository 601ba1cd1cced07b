"""What a mesh injects into a Pod ends with the worker."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from scenewright_stages.worker.process.sidecars import end_sidecars


class _Proxy(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_each_address_gets_a_post_and_one_that_fails_holds_nothing_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with HTTPServer(("127.0.0.1", 0), _Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        own = f"http://127.0.0.1:{server.server_port}"
        end_sidecars({"SCENEWRIGHT_QUIT_URLS": f"http://127.0.0.1:9/gone {own}/quitquitquit {own}/shutdown"})
        server.shutdown()
    assert _Proxy.asked == ["/quitquitquit", "/shutdown"]
    assert "127.0.0.1:9/gone did not end" in capsys.readouterr().err
    end_sidecars({})
