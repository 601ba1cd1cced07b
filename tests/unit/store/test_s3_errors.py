"""What a user is told when the S3 side is not as expected."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from scenewright_stages.store import AccessRefused, BucketMissing, StoreUnreachable, open_store


def test_a_missing_bucket_is_named(s3_bucket: str) -> None:
    with pytest.raises(BucketMissing, match=r"no-such-bucket.*create it"):
        open_store("s3://no-such-bucket/prefix").check_writable()


def test_a_missing_bucket_is_no_empty_listing(s3_bucket: str) -> None:
    with pytest.raises(BucketMissing):
        list(open_store("s3://no-such-bucket").list())


def test_wrong_keys_are_access_refused(s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(AccessRefused, match="credentials"):
        open_store(f"s3://{s3_bucket}").check_writable()


def test_no_keys_at_all_are_access_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(AccessRefused, match="AWS_ACCESS_KEY_ID"):
        open_store("s3://bucket").check_writable()


def test_a_dead_endpoint_is_unreachable_after_bounded_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    with pytest.raises(StoreUnreachable, match="AWS_ENDPOINT_URL"):
        open_store("s3://bucket").check_writable()


class _Damaging(BaseHTTPRequestHandler):
    """Answers with the checksum of other bytes, as a server may whose object is replaced while it is read."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.send_header("x-amz-checksum-crc32", "yeSx9A==")
        self.end_headers()
        self.wfile.write(b"new")

    def log_message(self, *_: object) -> None:
        pass


def test_bytes_that_are_not_those_of_their_checksum_may_be_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Damaging)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    try:
        with pytest.raises(StoreUnreachable, match="checksum"):
            open_store("s3://bucket").get_bytes("key")
    finally:
        server.shutdown()
        server.server_close()
