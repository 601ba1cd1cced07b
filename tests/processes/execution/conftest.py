"""A plan, and stub processes that follow a script."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from scenewright.api.names import API_VERSION
from scenewright.execution import process
from scenewright.execution.events import Event, Outcome
from scenewright.execution.local import LocalRun
from scenewright.planning.plan import Plan, make_plan
from scenewright.planning.tasks import RunSettings

HERE = Path(__file__).parent


@dataclass
class Ran:
    """What came of a scripted run."""

    outcome: Outcome
    processes: list[dict[str, Any]]
    events: list[Event] = field(default_factory=list)

    @property
    def steps(self) -> list[str]:
        """Steps of the processes in the order of their start."""
        return [line["step"] for line in self.processes]


def plan_of(tmp_path: Path, **changes: Any) -> Plan:
    spec = {
        "input": {"uri": (tmp_path / "in").as_uri()},
        "output": {"uri": (tmp_path / "out").as_uri()},
        "vistadream": {},
        **changes,
    }
    return make_plan({"apiVersion": API_VERSION, "kind": "SceneJob", "metadata": {"name": "a"}, "spec": spec})


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(tmp_path)


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ran]]:
    """Runs a plan of three stages (outpaint, depth, initialize, render) with scripted processes."""
    monkeypatch.setattr(process, "WORKER_MAIN", "stub_worker")
    monkeypatch.setattr(process, "POLL_SECONDS", 0.02)
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    def run(
        behaviours: dict[str, Any] | None = None,
        retry_failed: bool = False,
        of_depth: Mapping[str, Any] | None = None,
        variables: Mapping[str, str] | None = None,
        processes_per_gpu: int = 1,
        **changes: Any,
    ) -> Ran:
        script, log = tmp_path / "script.json", tmp_path / "log.jsonl"
        script.write_text(json.dumps({"behaviours": behaviours or {}}))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
            "STUB_SCRIPT": str(script),
            "STUB_LOG": str(log),
            **(variables or {}),
        }
        events: list[Event] = []
        settings = RunSettings(run="run-1", holder="me", retry_failed=retry_failed, processes_per_gpu=processes_per_gpu)
        plan = plan_of(tmp_path, **changes)
        chain = tuple(replace(each, **(of_depth or {})) if each.name == "depth" else each for each in plan.chain)
        outcome = LocalRun(replace(plan, chain=chain), settings, events.append, environment).run()
        lines = log.read_text().splitlines() if log.exists() else []
        return Ran(outcome, [json.loads(line) for line in lines], events)

    return run
