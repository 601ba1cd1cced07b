"""A tuning run whose processes are killed again and again ends with the bytes of one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_learning import data

pytestmark = pytest.mark.soak
__all__ = ["data"]
ROOT = Path(__file__).parents[3]
KILLS, TERMINATIONS = 20, 5
FIXER = {"steps": 400, "batch": 2, "crop": 32, "checkpointEvery": 100, "stateEvery": 10}


def started(folder: Path, data: Path) -> subprocess.Popen[bytes]:
    """The command, in a session of its own."""
    spec = {"dataset": {"uri": str(data)}, "output": {"uri": str(folder / "run")}, "fixer": FIXER}
    content = {"apiVersion": "scenewright.io/v1alpha1", "kind": "TuningRun", "metadata": {"name": "fixer"}}
    folder.mkdir(exist_ok=True)
    manifest = folder / "tuning.yaml"
    manifest.write_text(yaml.safe_dump({**content, "spec": spec}))
    path = os.pathsep.join([str(ROOT / "operator"), str(ROOT / "stages"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "scenewright.cli.main", "run", str(manifest)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=(folder / "out.log").open("ab"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The stage processes that a command runs."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(each) for each in path.read_text().split()] if path.exists() else []


def results(folder: Path) -> dict[str, bytes]:
    names = ("loss.csv", "checkpoints/model_400.safetensors", "checkpoints/model_400.pkl")
    return {name: (folder / "run" / name).read_bytes() for name in names}


def test_a_run_that_is_killed_and_ended_again_and_again_ends_the_same(data: Path, tmp_path: Path) -> None:
    assert started(tmp_path / "whole", data).wait(600) == 0, (tmp_path / "whole" / "out.log").read_text()[-3000:]
    draw = random.Random(0)
    moments = [signal.SIGKILL] * KILLS + [signal.SIGTERM] * TERMINATIONS
    draw.shuffle(moments)
    interrupted = 0
    for number in moments:
        process = started(tmp_path / "killed", data)
        try:
            code = process.wait(draw.uniform(1.0, 9.0))
        except subprocess.TimeoutExpired:
            interrupted += 1
            victims = [*workers_of(process), process.pid] if number == signal.SIGKILL else [process.pid]
            for victim in victims:
                os.kill(victim, number)
            process.wait(120)
            continue
        assert code == 0, (tmp_path / "killed" / "out.log").read_text()[-3000:]
    assert started(tmp_path / "killed", data).wait(600) == 0, (tmp_path / "killed" / "out.log").read_text()[-3000:]
    print(f"\n{interrupted} of {len(moments)} were ended while they ran")
    assert interrupted >= len(moments) // 2
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
