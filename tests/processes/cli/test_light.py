"""The operator side stays light: no torch, cv2 or numpy, and an answer in half a second."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "cv2", "numpy", "numba", "PIL", "boto3", "av")
MODULES = (
    "scenewright.api.crds",
    "scenewright.planning.plan",
    "scenewright.planning.tasks",
    "scenewright.execution.local",
    "scenewright.cli.main",
    "scenewright.cli.commands.run",
    "scenewright.cli.commands.plan",
    "scenewright.cli.commands.models",
    "scenewright.cli.commands.report",
    "scenewright.cli.commands.crds",
    "scenewright.cli.live",
    "scenewright_stages.vistadream.pipeline",
)


def loaded(modules: tuple[str, ...]) -> set[str]:
    """The names of all modules that importing these loads, in a process of its own."""
    code = f"import sys, json\nfor name in {modules!r}: __import__(name)\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(result.stdout))


def test_importing_the_operator_side_loads_nothing_heavy() -> None:
    assert loaded(MODULES).isdisjoint(HEAVY)


def test_the_check_would_notice_a_heavy_import() -> None:
    assert "numpy" in loaded(("scenewright_stages.vision.geometry.cameras",))


def test_help_needs_neither_pydantic_nor_rich_progress() -> None:
    assert loaded(("scenewright.cli.main",)).isdisjoint({"pydantic", "rich.progress", "yaml"})


@pytest.mark.serial
def test_help_answers_in_half_a_second() -> None:
    assert fastest_help(runs=8) < 0.5


def fastest_help(runs: int) -> float:
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "scenewright.cli.main", "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - began)
    return min(times)
