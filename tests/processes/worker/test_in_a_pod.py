"""What only a cluster asks of the worker: pushed counters, GPU time, and a log that outlives the process."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from last_records import latest
from toy_harness import Toy
from toy_pipeline import runs

from cluster.processes import accepts_connections
from cluster.storage import StorageServer
from scenewright_stages.contract.errors import ExitCode
from scenewright_stages.contract.reports import MAXIMUM_PUSH_BYTES, MAXIMUM_REPORT_BYTES, Push, Report
from scenewright_stages.store import open_store


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[tuple[dict[str, str], list[Push]]]:
    """The variables that name an endpoint, and what it gets."""
    got: list[Push] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(Push.model_validate_json(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Keeps quiet."""

    (tmp_path / "token").write_text("token")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield _variables(server.server_port, tmp_path), got
    server.shutdown()
    server.server_close()


def _variables(port: int, folder: Path) -> dict[str, str]:
    return {
        "SCENEWRIGHT_PROGRESS_URL": f"http://127.0.0.1:{port}/v1/progress",
        "SCENEWRIGHT_PROGRESS_TOKEN": str(folder / "token"),
        "SCENEWRIGHT_POD": "3c1f0f6a-pod",
        "SCENEWRIGHT_GPUS": "1",
    }


def test_the_final_counters_reach_the_operator(toy: Toy, endpoint: tuple[dict[str, str], list[Push]]) -> None:
    toy.environment, got = endpoint
    toy.parameters = {**toy.parameters, "seconds": 0.2}
    assert toy.step("index") == 0 and toy.step("double") == 0
    last = got[-1]
    assert (last.run, last.step, last.samples.done, last.ended_here) == (toy.run, "double", 3, 3)
    assert last.busy_seconds >= 0.6 and last.waiting_seconds > 0.0 and last.phase == "finished"


def test_gpu_time_is_in_records_and_reports_without_an_endpoint(toy: Toy) -> None:
    toy.parameters = {**toy.parameters, "seconds": 0.2}
    toy.environment = {"SCENEWRIGHT_GPUS": "2"}
    began = time.monotonic()
    assert toy.step("index") == 0 and toy.step("double") == 0
    counts = toy.report("double").stages["double"]
    assert counts.gpu_seconds >= 2 * 3 * 0.2 and counts.gpu_wait_seconds > 0.0
    assert counts.gpu_seconds + counts.gpu_wait_seconds <= 2 * (time.monotonic() - began)
    assert toy.step("sum") == 0 and toy.step("publish") == 0
    published = toy.report("publish").stages["double"]
    assert published.gpu_seconds == pytest.approx(counts.gpu_seconds, abs=0.1)
    assert published.gpu_wait_seconds <= counts.gpu_wait_seconds


def test_a_process_without_a_gpu_reports_none(toy: Toy) -> None:
    assert toy.step("index") == 0 and toy.step("double") == 0
    counts = toy.report("double").stages["double"]
    assert counts.gpu_seconds == 0.0 and counts.gpu_wait_seconds == 0.0


@pytest.mark.parametrize("kind", ["nobody", "silent"])
def test_an_endpoint_that_is_away_costs_no_sample_and_little_time(toy: Toy, kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1] if kind == "silent" else 1
        toy.environment = _variables(port, toy.folder)
        assert toy.step("index") == 0
        began = time.monotonic()
        assert toy.step("double") == 0
        assert time.monotonic() - began < 10.0
    assert toy.report("double").stages["double"].done == 3


def test_the_termination_message_fits_whatever_failed(toy: Toy) -> None:
    job = Toy(toy.folder.parent / "many", samples=60)
    for path in job.input.iterdir():
        path.rename(path.with_name(f"🦊🦊🦊🦊🦊-{path.name}"))
    job.faults(sampleError="s")
    assert job.step("index") == 0 and job.step("double") == 0 and job.step("publish") == 0
    message = (job.reports / "termination").read_bytes()
    assert len(message) <= MAXIMUM_REPORT_BYTES
    assert Report.from_bytes(message).stages["double"].failed == 60


def test_a_refused_index_leaves_its_log_in_a_cluster_and_nothing_on_a_laptop(toy: Toy) -> None:
    missing = {"input": {"uri": str(toy.folder / "nowhere")}}
    assert toy.step("index", **missing) == 10
    assert not (toy.output / ".scenewright").exists()
    assert toy.start_afresh("index", {"SCENEWRIGHT_POD": "a-pod"}, **missing).wait() == 10
    (log,) = (toy.output / ".scenewright" / "logs" / toy.run).iterdir()
    assert log.name.startswith("index-0-a-pod-") and "spec.input.uri" in log.read_text()


def _older(toy: Toy, seconds: float) -> list[str]:
    """Samples whose line was written before so many seconds: once the outputs are stored, a moment after the 0.4 s."""
    return [run["sample"] for run in runs(toy.folder) if run["at"] + 0.4 + 0.3 < time.time() - seconds]


@pytest.mark.slow
def test_the_log_of_a_killed_process_is_in_s3(tmp_path: Path, s3_bucket: str) -> None:
    """Every line that was older than 5 s when the process was killed must be readable in storage."""
    toy = Toy(tmp_path / "job", samples=60, output_uri=f"s3://{s3_bucket}/killed")
    toy.faults()
    toy.parameters = {**toy.parameters, "seconds": 0.4}
    toy.environment = {"SCENEWRIGHT_POD": "killed-pod", "PYTHONUNBUFFERED": "1"}
    assert toy.step("index") == 0
    process = toy.start("double")
    deadline = time.monotonic() + 60.0
    while len(_older(toy, 5.0)) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.signal(signal.SIGKILL)
    old = _older(toy, 5.0)
    assert process.wait() == -signal.SIGKILL
    store = open_store(toy.output_uri)
    keys = [entry.key for entry in store.list(f".scenewright/logs/{toy.run}/double-0-killed-pod-")]
    stored = b"".join(store.get_bytes(key) for key in keys).decode()
    assert [sample for sample in old if f"double {sample} done" not in stored] == []


def test_the_largest_push_is_small() -> None:
    push = Push(run="r" * 64, step="s" * 63, shard=10**9, phase="p" * 32)
    assert len(push.model_dump_json(by_alias=True)) < MAXIMUM_PUSH_BYTES / 4


@pytest.mark.slow
def test_foreign_code_that_holds_the_interpreter_for_ever_is_ended_and_the_sample_passed_over(toy: Toy) -> None:
    """No Python thread runs meanwhile, so that neither the sample's time limit nor a signal could end it."""
    toy.pipeline, toy.environment = "toy_hanging:PIPELINE", {"SCENEWRIGHT_HANG_SECONDS": "2"}
    assert toy.step("index") == 0
    for _ in range(2):
        began = time.monotonic()
        assert toy.start_afresh("double", sample_timeout_seconds=1.0).wait(60) == 1
        assert time.monotonic() - began < 30.0
    assert "toy_hanging.py" in (toy.folder / "console.txt").read_text(), "it says where it hung"
    assert toy.step("double") == 0
    ends = {name: (record.state, record.reason) for name, record in latest(toy.records("double")).items()}
    assert ends == {"s0000": ("done", ""), "s0001": ("failed", "Crashed"), "s0002": ("done", "")}


OUTAGE_SECONDS = float(os.environ.get("SCENEWRIGHT_OUTAGE_SECONDS", "12"))
"""How long S3 is away; ``make soak`` sets 60."""


def _bring_back(server: StorageServer) -> None:
    assert server.component is not None
    server.component.start()
    address, _, port = server.endpoint.removeprefix("http://").partition(":")
    server.component.wait_until(lambda: accepts_connections(address, int(port)), 20.0)


def _run_through_an_outage(folder: Path, bucket: str, server: StorageServer, **environment: str) -> tuple[int, Toy]:
    """The exit code of a stage in whose middle S3 goes away; it comes back in time, or when the process has ended."""
    assert server.component is not None
    toy = Toy(folder, samples=12, output_uri=f"s3://{bucket}/{folder.name}")
    toy.faults()
    toy.parameters = {**toy.parameters, "seconds": 0.4}
    toy.environment = {**environment, "SCENEWRIGHT_POD": "patient"}
    assert toy.step("index") == 0
    process = toy.start("double")
    deadline = time.monotonic() + 60.0
    while len(runs(toy.folder)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    server.component.kill()
    process.poll(OUTAGE_SECONDS)
    _bring_back(server)
    return process.wait(), toy


@pytest.mark.slow
def test_storage_that_is_away_for_a_while_costs_a_pod_nothing(
    tmp_path: Path, s3_bucket: str, s3_server: StorageServer
) -> None:
    """The baseline that must lose is a process without patience, as on a laptop."""
    code, toy = _run_through_an_outage(tmp_path / "patient", s3_bucket, s3_server, SCENEWRIGHT_STORAGE_PATIENCE="300")
    assert code == 0 and toy.report("double").stages["double"].done == 12
    assert len(runs(toy.folder)) == 12, "no sample was made twice"
    code, _ = _run_through_an_outage(tmp_path / "hasty", s3_bucket, s3_server)
    assert code == ExitCode.STORAGE_FAULT


@pytest.mark.slow
def test_a_pod_that_starts_while_storage_is_away_waits_for_it(
    tmp_path: Path, s3_bucket: str, s3_server: StorageServer
) -> None:
    assert s3_server.component is not None
    toy = Toy(tmp_path / "job", output_uri=f"s3://{s3_bucket}/late")
    toy.environment = {"SCENEWRIGHT_STORAGE_PATIENCE": "300", "SCENEWRIGHT_POD": "early"}
    s3_server.component.kill()
    process = toy.start("index")
    assert process.poll(OUTAGE_SECONDS) is None
    _bring_back(s3_server)
    assert process.wait() == 0


@pytest.mark.slow
def test_a_pod_that_waits_for_storage_ends_on_sigterm(tmp_path: Path, s3_bucket: str, s3_server: StorageServer) -> None:
    assert s3_server.component is not None
    toy = Toy(tmp_path / "job", output_uri=f"s3://{s3_bucket}/never")
    toy.environment = {"SCENEWRIGHT_STORAGE_PATIENCE": "300", "SCENEWRIGHT_POD": "early"}
    s3_server.component.kill()
    try:
        process = toy.start("index")
        time.sleep(5.0)
        process.signal(signal.SIGTERM)
        began = time.monotonic()
        assert process.wait(60) == 143
        assert time.monotonic() - began < 30.0, "within the grace of a Pod"
    finally:
        _bring_back(s3_server)
