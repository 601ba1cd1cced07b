"""What the pages show of folders: objects, their numbers and reasons, samples, files with ranges, and changes."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from lab_site import RUN, Site, write_object

Serve = Callable[..., Site]


def test_the_overview_counts_objects_by_state_and_says_why(tmp_path: Path, serve: Serve) -> None:
    write_object(tmp_path, "good")
    lost = [{"sample": "sample0", "stage": "render", "reason": "ContractNotMet", "message": "depth is constant"}]
    write_object(tmp_path, "half", failures=lost)
    write_object(tmp_path, "bad", samples=1, failures=lost)
    site = serve()
    text = site.get("/").text
    assert '<h3><a href="/?phase=Complete">Complete</a></h3><p class="value">2</p>' in text
    assert '<h3><a href="/?phase=Failed">Failed</a></h3><p class="value">1</p>' in text
    assert site.get("/?phase=Failed").text.count('<th scope="row"') == 1
    shown = site.get("/objects/half").text
    assert "ContractNotMet" in shown and "depth is constant" in shown and "1 of 2 samples failed" in shown


def test_an_interrupted_run_can_be_continued_and_its_results_are_still_shown(tmp_path: Path, serve: Serve) -> None:
    folder = write_object(tmp_path, "stopped")
    later = folder / ".scenewright" / "runs" / RUN.replace("2026", "2027", 1)
    later.mkdir()
    (later / "index.report.json").write_text(
        json.dumps({"step": "index", "stages": {"render": {"total": 2, "todo": 2}}})
    )
    text = serve().get("/objects/stopped").text
    assert "Interrupted" in text and ">Continue</button>" in text and "report.html" in text


def test_an_object_inside_another_is_found_only_where_a_pipeline_says_so(tmp_path: Path, serve: Serve) -> None:
    write_object(tmp_path, "pairs")
    write_object(tmp_path / "pairs" / "tuning_runs", "fixer", kind="TuningRun")
    write_object(tmp_path / "pairs" / "a", "no-object")
    site = serve()
    assert site.get("/objects/pairs/tuning_runs/fixer").status == 200
    assert site.get("/objects/pairs/a/no-object").status == 404
    assert "fixer" in site.get("/tuning").text


def test_samples_are_paged_and_searched_without_reading_the_whole_manifest(tmp_path: Path, serve: Serve) -> None:
    write_object(tmp_path, "many", samples=200)
    site = serve()
    assert "200 samples" in site.get("/samples/many").text
    last = site.get("/samples/many?page=5").text
    assert "sample199" in last and "sample0<" not in last
    found = site.get("/samples/many?words=val").text
    assert "40 samples" in found and "sample5<" in found and "sample6<" not in found
    assert "0 samples" in site.get("/samples/many?words=no-such-word").text


@pytest.mark.parametrize(
    ("wanted", "status", "expected"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=5-", 206, slice(5, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=10-5000", 206, slice(10, None)),
        ("bytes=9000-", 416, slice(0, 0)),
        ("bytes=-0", 416, slice(0, 0)),
        ("bytes=a-b", 200, slice(0, None)),
        ("", 200, slice(0, None)),
    ],
)
def test_files_are_sent_in_ranges(tmp_path: Path, serve: Serve, wanted: str, status: int, expected: slice) -> None:
    folder = write_object(tmp_path, "one")
    data = bytes(range(256)) * 4
    (folder / "scene.ply").write_bytes(data)
    answer = serve().get("/files/one/-/scene.ply", **({"Range": wanted} if wanted else {}))
    assert (answer.status, answer.body) == (status, data[expected])
    assert "attachment" in answer.headers["content-disposition"]


def test_a_change_on_disk_is_told_within_two_seconds(tmp_path: Path, serve: Serve) -> None:
    write_object(tmp_path, "first")
    site = serve()
    site.get("/")
    events: list[tuple[float, str]] = []

    def listen() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
        connection.request("GET", "/events")
        response = connection.getresponse()
        while len(events) < 2 and (line := response.readline()):
            if line.startswith(b"data:"):
                events.append((time.monotonic(), line.decode()))
        connection.close()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    time.sleep(0.3)
    begun = time.monotonic()
    write_object(tmp_path, "second")
    listener.join(10)
    assert len(events) == 2 and events[1][0] - begun < 2.0
    assert "second" in site.get("/").text


def test_a_root_that_goes_away_is_said_and_comes_back(tmp_path: Path, serve: Serve) -> None:
    root = tmp_path / "root"
    write_object(root, "one")
    site = serve(root)
    assert "one" in site.get("/").text
    assert site.get("/files/one/-/nothing.txt").status == 404
    (root / "one" / "summary.json").write_text("{")
    assert site.get("/objects/one").status == 200, "a broken summary hides nothing else"
