"""A tuning run whose processes are killed again and again ends with the bytes of one that was left alone."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from test_learning import data

from scenewright_stages.contract import layout

pytestmark = pytest.mark.soak
__all__ = ["data"]
ROOT = Path(__file__).parents[3]
KILLS, TERMINATIONS = 20, 5
INTERVAL = 10
# A fast machine takes hundreds of steps between two kills, and must not end before the last.
FIXER = {"steps": 3000, "batch": 2, "crop": 32, "checkpointEvery": 500, "stateEvery": INTERVAL}
NAMES = ("loss.csv", "checkpoints/model_3000.safetensors", "checkpoints/model_3000.pkl")
LONGEST_START = 8.0
"""Seconds after the start at which a kill that waits for no state strikes at the latest."""
PATIENCE = 600.0


def started(folder: Path, data: Path) -> subprocess.Popen[bytes]:
    """The command, in a session of its own; it prints into ``out.log``."""
    spec = {"dataset": {"uri": str(data)}, "output": {"uri": str(folder / "run")}, "fixer": FIXER}
    content = {"apiVersion": "scenewright.io/v1alpha1", "kind": "TuningRun", "metadata": {"name": "fixer"}}
    folder.mkdir(exist_ok=True)
    manifest = folder / "tuning.yaml"
    manifest.write_text(yaml.safe_dump({**content, "spec": spec}))
    path = os.pathsep.join([str(ROOT / "operator"), str(ROOT / "stages"), os.environ.get("PYTHONPATH", "")])
    with (folder / "out.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "scenewright.cli.main", "run", str(manifest)],
            env={**os.environ, "PYTHONPATH": path},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def finished(folder: Path, data: Path) -> dict[str, bytes]:
    """Lets the command come to its end, and returns the files that must be equal."""
    assert started(folder, data).wait(PATIENCE) == 0, printed(folder)
    return {name: (folder / "run" / name).read_bytes() for name in NAMES}


def printed(folder: Path) -> str:
    return (folder / "out.log").read_text(errors="replace")


def saved_step(folder: Path) -> int:
    """Step of the state that the next process continues from."""
    found = (folder / "run" / layout.STATE).rglob("latest.json")
    return max((int(json.loads(path.read_text())["step"]) for path in found), default=0)


def await_state(process: subprocess.Popen[bytes], folder: Path, step: int) -> None:
    """Returns when a state of this step is saved, or the process has ended."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and saved_step(folder) < step:
        assert time.monotonic() < deadline, f"step {step} was never saved\n{printed(folder)[-3000:]}"
        time.sleep(0.02)


def children_of(process: int) -> list[int]:
    """Processes that any of its threads has started."""
    files = Path(f"/proc/{process}/task").glob("*/children")
    return [int(each) for path in files for each in path.read_text().split()]


def end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Kills the command and its worker, as a machine that dies does, or asks the command to stop."""
    victims = [process.pid, *children_of(process.pid)] if number == signal.SIGKILL else [process.pid]
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, number)
    process.wait(120)


def test_a_run_that_is_killed_and_ended_again_and_again_ends_the_same(data: Path, tmp_path: Path) -> None:
    whole = finished(tmp_path / "whole", data)
    folder = tmp_path / "killed"
    draw = random.Random(0)
    signals = [signal.SIGKILL] * KILLS + [signal.SIGTERM] * TERMINATIONS
    draw.shuffle(signals)
    saved: list[int] = []
    for number in signals:
        before, states = saved_step(folder), draw.choice([0, 1, 1, 2])
        process = started(folder, data)
        await_state(process, folder, before + states * INTERVAL)
        time.sleep(draw.uniform(0, 1.5 if states else LONGEST_START))
        assert process.poll() is None, f"it ended before its kill\n{printed(folder)[-3000:]}"
        end(process, number)
        saved.append(saved_step(folder))
        steps = [int(each) for each in re.findall(r"step (\d+)$", printed(folder), re.MULTILINE)]
        assert saved[-1] >= before + states * INTERVAL
        assert max(steps, default=0) - saved[-1] <= INTERVAL, "more than an interval is lost"
        if before and states:
            assert min(steps, default=before + 1) > before, "it began anew"
    ended = finished(folder, data)
    print(f"\nsteps saved after each of {KILLS} kills and {TERMINATIONS} ends: {saved}")
    assert ended == whole
