"""The web page of an object store: what it shows, in how many requests, and a store that goes away for a while."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from lab_site import PNG, serving, write_object
from s3_fixtures import s3_bucket, s3_server

from cluster import storage
from scenewright_lab.settings import Settings

__all__ = ["s3_bucket", "s3_server"]


def test_objects_samples_and_files_of_a_bucket_and_an_outage(
    tmp_path: Path, s3_server: storage.StorageServer, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = [{"sample": "sample0", "stage": "render", "reason": "ContractNotMet", "message": "constant depth"}]
    write_object(tmp_path, "yard", samples=60, failures=lost)
    write_object(tmp_path / "deeper", "well")
    client = s3_server.client()
    for path in (each for each in tmp_path.rglob("*") if each.is_file()):
        client.upload_file(str(path), s3_bucket, f"lab/{path.relative_to(tmp_path).as_posix()}")
    with serving(Settings(target=f"s3://{s3_bucket}/lab")) as site:
        text = site.get("/").text
        assert "yard" in text and "well" in text and 'href="/new"' not in text
        assert "constant depth" in site.get("/objects/yard").text
        assert "12 samples" in site.get("/samples/yard?words=val").text
        answer = site.get("/files/yard/-/a/picture.png", Range="bytes=0-7")
        assert (answer.status, answer.body) == (206, PNG[:8])
        assert site.get("/files/yard/-/nothing.png").status == 404
        assert site.get("/files/yard/-/../deeper/well/summary.json").status == 404
        thumbnail = site.get("/thumbnails/yard/-/a/picture.png")
        assert (thumbnail.status, thumbnail.headers["content-type"]) == (200, "image/jpeg")
        assert s3_server.component is not None
        s3_server.component.kill()
        try:
            deadline = time.monotonic() + 60
            while "cannot be read at the moment" not in (text := site.get("/").text) and time.monotonic() < deadline:
                time.sleep(0.5)
            assert "cannot be read at the moment" in text and "yard" in text, "it says so and shows what it knew"
            answer = site.get("/files/yard/-/summary.json")
            assert answer.status == 503 and "retry-after" in answer.headers
            assert site.get("/objects/yard").status == 200
        finally:
            s3_server.component.start()
        deadline = time.monotonic() + 60
        while "cannot be read at the moment" in (text := site.get("/").text) and time.monotonic() < deadline:
            time.sleep(0.5)
        assert "cannot be read at the moment" not in text
        assert site.get("/files/yard/-/summary.json").status == 200
