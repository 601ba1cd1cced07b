"""Ctrl-C is clean, a second one is immediate, and no process outlives the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
MANIFEST = """
apiVersion: scenewright.io/v1alpha1
kind: SceneJob
metadata: {name: a}
spec:
  input: {uri: ./in}
  output: {uri: ./out}
  vistadream: {}
"""


@contextmanager
def started(tmp_path: Path, behaviour: dict[str, Any]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The command line in the middle of its second stage, and the pid of that stage's process."""
    (tmp_path / "job.yaml").write_text(MANIFEST)
    (tmp_path / "script.json").write_text(json.dumps({"behaviours": {"depth": [behaviour]}}))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
        "TMPDIR": str(tmp_path),
        "STUB_SCRIPT": str(tmp_path / "script.json"),
        "STUB_LOG": str(tmp_path / "log.jsonl"),
    }
    command = [sys.executable, str(HERE / "scripted_cli.py"), "run", str(tmp_path / "job.yaml")]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process, eventually(lambda: pid_of(tmp_path, "depth"))
    finally:
        process.kill()
        process.wait()


def pid_of(tmp_path: Path, step: str) -> int | None:
    """The pid of a step's process once its handlers are in place."""
    log = tmp_path / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    found = next((line["pid"] for line in lines if line["step"] == step), None)
    if found is not None:
        time.sleep(0.3)
    return found


def eventually(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_ends_the_stage_cleanly_and_says_how_to_continue(tmp_path: Path, number: int) -> None:
    with started(tmp_path, {"sleep": 60}) as (process, stage):
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "run the same command to continue" in out
        assert "Traceback" not in out + err
        assert is_gone(stage)


@pytest.mark.slow
def test_a_second_signal_ends_a_deaf_stage_at_once(tmp_path: Path) -> None:
    with started(tmp_path, {"sleep": 60, "deaf": True}) as (process, stage):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        assert not is_gone(stage)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 130
        assert is_gone(stage)


@pytest.mark.slow
def test_no_stage_outlives_a_killed_command_line(tmp_path: Path) -> None:
    with started(tmp_path, {"sleep": 60}) as (process, stage):
        process.kill()
        process.wait()
        eventually(lambda: is_gone(stage))
    assert list(tmp_path.glob("scenewright-run-*"))


@pytest.mark.slow
def test_litter_of_a_killed_command_line_is_removed_by_the_next(tmp_path: Path) -> None:
    with started(tmp_path, {"sleep": 60}) as (process, stage):
        process.kill()
        process.wait()
        eventually(lambda: is_gone(stage))
    (tmp_path / "log.jsonl").unlink()
    with started(tmp_path, {}) as (process, _):
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert not list(tmp_path.glob("scenewright-run-*"))
