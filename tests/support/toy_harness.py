"""Runs the worker's processes on the toy pipeline as an executor would, one step after the other."""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plugins import with_plugins
from summaries import untimed
from toy_pipeline import PIPELINE, runs, write_inputs

from scenewright_stages.contract import layout
from scenewright_stages.contract.keys import short_hash, stage_keys
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.task import Task

SUPPORT = Path(__file__).parent
_RUNS = itertools.count(1)


class Started:
    """A worker process that the zygote forked."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def wait(self, seconds: float = 120.0) -> int:
        """Exit code, as subprocess gives it; a process that takes longer is killed and is an error."""
        code = self.poll(seconds)
        if code is None:
            self.signal(signal.SIGKILL)
            self.poll(10.0)
            raise TimeoutError(f"the worker did not end within {seconds:g} s")
        return code

    def poll(self, seconds: float = 0.0) -> int | None:
        """Exit code, None while it runs."""
        if self.returncode is None:
            self.returncode = _zygote().ask({"wait": self.pid, "seconds": seconds})
        return self.returncode

    def signal(self, number: int) -> None:
        """Sends a signal."""
        if self.poll() is None:
            os.kill(self.pid, number)


class _Zygote:
    """The process that forks the workers of this test process."""

    def __init__(self) -> None:
        environment = {**os.environ, **with_plugins()}
        self._process = subprocess.Popen(
            [sys.executable, str(SUPPORT / "toy_zygote.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def ask(self, request: dict[str, Any]) -> int | None:
        """The answer to one request."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: int | None = json.loads(self._process.stdout.readline())
        return answer


@functools.cache
def _zygote() -> _Zygote:
    return _Zygote()


def start_worker(variables: Mapping[str, str], log: Path) -> Started:
    """Starts a worker with exactly these variables; `log` gets what it prints."""
    answer = _zygote().ask({"start": dict(variables), "log": str(log)})
    assert answer is not None
    return Started(answer)


@dataclass
class Toy:
    """A job of the toy pipeline in a folder of its own.

    Attributes:
        folder: gets ``in``, ``out``, reports and markers.
        parameters: of the pipeline, as in a manifest.
        options: further fields of the task.
        environment: further variables of the processes.
        pipeline: what the processes find as the pipeline ``toy``.
    """

    folder: Path
    samples: int = 3
    parameters: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    output_uri: str = ""
    pipeline: str = "toy_pipeline:PIPELINE"

    def __post_init__(self) -> None:
        write_inputs(self.input, self.samples)
        self.reports.mkdir(parents=True, exist_ok=True)
        self.new_run()

    @property
    def input(self) -> Path:
        return self.folder / "in"

    @property
    def output(self) -> Path:
        return self.folder / "out"

    @property
    def reports(self) -> Path:
        return self.folder / "reports"

    def new_run(self) -> None:
        """What another invocation is: a new run id."""
        self.run = f"r{next(_RUNS)}"

    def faults(self, **faults: Any) -> None:
        """Orders faults."""
        self.parameters = {**self.parameters, "faults": {"markerFolder": str(self.folder), **faults}}

    def task(self, step: str, **changes: Any) -> Task:
        params = PIPELINE.parse(self.parameters)
        keys = stage_keys(PIPELINE, params, {}, 42)
        fields: dict[str, Any] = {
            "kind": "SceneJob",
            "name": "toy-job",
            "pipeline": "toy",
            "parameters": self.parameters,
            "step": step,
            "run": self.run,
            "work_hash": short_hash([self.parameters, self.options]),
            "keys": keys,
            "input": {"uri": str(self.input)},
            "output": {"uri": self.output_uri or str(self.output)},
            "select_stages": ["double", "sum"],
            "holder": "test",
            "job": {"spec": {"toy": {name: value for name, value in self.parameters.items() if name != "faults"}}},
        }
        return Task.model_validate({**fields, **self.options, **changes})

    def start(self, step: str, environment: dict[str, str] | None = None, **changes: Any) -> Started:
        """Starts the process of a step."""
        return self.start_with(self.variables(step, environment, **changes))

    def start_with(self, variables: dict[str, str]) -> Started:
        """Starts a process with exactly these variables."""
        return start_worker(variables, self.folder / "console.txt")

    def start_afresh(
        self, step: str, environment: dict[str, str] | None = None, *, pass_fds: tuple[int, ...] = (), **changes: Any
    ) -> subprocess.Popen[bytes]:
        """Starts the process of a step by the command that executors use."""
        with (self.folder / "console.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "scenewright_stages.worker"],
                env=self.variables(step, environment, **changes),
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
            )

    def variables(self, step: str, environment: dict[str, str] | None = None, **changes: Any) -> dict[str, str]:
        """Environment of a step's process."""
        return {
            **os.environ,
            **with_plugins(toy=self.pipeline),
            "SCENEWRIGHT_TASK": self.task(step, **changes).model_dump_json(by_alias=True),
            "SCENEWRIGHT_REPORT_DIR": str(self.reports),
            "SCENEWRIGHT_TERMINATION_LOG": str(self.reports / "termination"),
            "SCENEWRIGHT_PROGRESS_FILE": str(self.reports / "progress.json"),
            "SCENEWRIGHT_SCRATCH": str(self.folder / "scratch"),
            "SCENEWRIGHT_HOLDER_PID": str(os.getpid()),
            **self.environment,
            **(environment or {}),
        }

    def step(self, step: str, environment: dict[str, str] | None = None, **changes: Any) -> int:
        """Runs a step to its end; returns the exit code."""
        return self.start(step, environment, **changes).wait()

    def all_steps(self, **changes: Any) -> list[int]:
        """Index, both stages and publish, each in its own process; returns the exit codes."""
        return [self.step(step, **changes) for step in ("index", "double", "sum", "publish")]

    def folded(self, **changes: Any) -> list[int]:
        """The two processes of the local executor: index folded into the first stage, publish into the last."""
        return [self.step("double", fold_index=True, **changes), self.step("sum", fold_publish=True, **changes)]

    def report(self, step: str) -> Report:
        """The newest report of a step."""
        return Report.from_bytes((self.reports / f"{step}.report.json").read_bytes())

    def plan(self) -> dict[str, Any]:
        """The newest plan.json."""
        plan: dict[str, Any] = json.loads((self.reports / "plan.json").read_text())
        return plan

    def runs(self) -> list[tuple[str, str]]:
        """Every time that a sample's code ran, as (stage, sample), in order; needs :meth:`faults`."""
        return [(run["stage"], run["sample"]) for run in runs(self.folder)]

    def forget_runs(self) -> None:
        """Empties what :meth:`runs` returns."""
        (self.folder / "runs.txt").unlink(missing_ok=True)

    def records(self, stage: str) -> list[Record]:
        """All stored records of a stage."""
        files = sorted((self.output / layout.ROOT / stage).rglob("*.jsonl"))
        return [Record.from_line(line) for file in files for line in file.read_text().split("\n") if line]

    def results(self) -> dict[str, bytes]:
        """Every visible file of the output by relative path, the summary without its times."""
        found = tree(self.output)
        return {path: untimed(content) if path == layout.SUMMARY else content for path, content in found.items()}

    def console(self) -> str:
        """What the processes printed."""
        return (self.folder / "console.txt").read_text(errors="replace")


def tree(folder: Path, skip: Iterable[str] = (layout.ROOT,)) -> dict[str, bytes]:
    """Content by path of every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: content for name, content in found.items() if name.split("/")[0] not in skip}
