"""One stage process: started, watched and ended; it never outlives the process that started it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from scenewright.planning.tasks import task_text
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.task import ENVIRONMENT, SHARD_ENVIRONMENT, Task

WORKER_MODULE = "scenewright_stages.worker"
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class ProcessFolder:
    """Where one run keeps what its processes report; removed with the run.

    Attributes:
        path: an existing folder.
    """

    path: Path

    @property
    def progress(self) -> Path:
        """The progress file of the running process."""
        return self.path / "progress.json"

    def log(self, step: str, shard: int) -> Path:
        """What a process wrote to its output; the worker also stores it beside the results."""
        return self.path / f"{step}-{shard}.log"

    def report(self, step: str) -> Report | None:
        """The report of a step, None when it has left none."""
        path = self.path / f"{step}.report.json"
        return Report.from_bytes(path.read_bytes()) if path.is_file() else None

    def plan(self) -> dict[str, Any]:
        """The plan that an index step with ``planOnly`` wrote."""
        content: dict[str, Any] = json.loads((self.path / "plan.json").read_text(encoding="utf-8"))
        return content

    def forget(self, *steps: str) -> None:
        """Removes the progress and the reports of earlier processes."""
        for path in (self.progress, *(self.path / f"{step}.report.json" for step in steps)):
            path.unlink(missing_ok=True)


class StageProcess:
    """A running worker process; a context manager that ends it whatever happens.

    It runs in a session of its own, so that Ctrl-C reaches it only through us. A pipe whose write end only we hold
    tells it when we are gone, even by SIGKILL.
    """

    def __init__(self, task: Task, shard: int, folder: ProcessFolder, environment: Mapping[str, str]) -> None:
        self.folder = folder
        parent_end, self._life_line = os.pipe()
        self._log = folder.log(task.step, shard).open("ab")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", WORKER_MODULE],
                env=_environment(task, shard, folder, environment, parent_end),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(parent_end,),
            )
        except BaseException:
            os.close(self._life_line)
            self._log.close()
            raise
        finally:
            os.close(parent_end)

    def watch(self) -> Iterator[dict[str, Any] | None]:
        """Yields the progress (None when there is none yet) about ten times a second until the process has ended."""
        while True:
            try:
                self._process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                yield self._progress()
                continue
            yield self._progress()
            return

    @property
    def code(self) -> int:
        """Exit code of the ended process, negative for a signal."""
        return self._process.wait()

    def signal(self, number: int) -> None:
        """Sends a signal to the process; nothing happens when it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Ends the process and all that it started, at once."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.kill()
        self._process.wait()
        os.close(self._life_line)
        self._log.close()

    def _progress(self) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] = json.loads(self.folder.progress.read_text(encoding="utf-8"))
            return content
        except (OSError, ValueError):
            return None


def _environment(
    task: Task, shard: int, folder: ProcessFolder, environment: Mapping[str, str], parent_end: int
) -> dict[str, str]:
    return {
        **environment,
        "PYTHONUNBUFFERED": "1",
        ENVIRONMENT: task_text(task),
        SHARD_ENVIRONMENT: str(shard),
        "SCENEWRIGHT_REPORT_DIR": str(folder.path),
        "SCENEWRIGHT_PROGRESS_FILE": str(folder.progress),
        "SCENEWRIGHT_TERMINATION_LOG": str(folder.path / "termination.json"),
        "SCENEWRIGHT_PARENT_FD": str(parent_end),
        "SCENEWRIGHT_HOLDER_PID": str(os.getpid()),
    }
