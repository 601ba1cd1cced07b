"""One stage process: started, watched and ended. It never outlives the process that started it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from scenewright.execution.folders import ShardFolder
from scenewright.planning.tasks import task_text
from scenewright_stages.contract.task import ENVIRONMENT, SHARD_ENVIRONMENT, Task

WORKER_MODULE = "scenewright_stages.worker"
POLL_SECONDS = 0.1


class StageProcess:
    """A running worker process; a context manager that ends it whatever happens.

    It runs in a session of its own, so that Ctrl-C reaches it only through us. A pipe whose write end only we hold
    tells it when we are gone, even by SIGKILL.
    """

    def __init__(self, task: Task, shard: int, folder: ShardFolder, environment: Mapping[str, str]) -> None:
        parent_end, self._life_line = os.pipe()
        self._log = folder.log_file.open("ab")
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

    def is_running(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def wait_a_moment(self) -> None:
        """Waits for the process's end, at most a tenth of a second."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(POLL_SECONDS)

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


def _environment(
    task: Task, shard: int, folder: ShardFolder, environment: Mapping[str, str], parent_end: int
) -> dict[str, str]:
    return {
        **environment,
        "PYTHONUNBUFFERED": "1",
        ENVIRONMENT: task_text(task),
        SHARD_ENVIRONMENT: str(shard),
        "SCENEWRIGHT_REPORT_DIR": str(folder.path),
        "SCENEWRIGHT_PROGRESS_FILE": str(folder.progress_file),
        "SCENEWRIGHT_TERMINATION_LOG": str(folder.path / "termination.json"),
        "SCENEWRIGHT_PARENT_FD": str(parent_end),
        "SCENEWRIGHT_HOLDER_PID": str(os.getpid()),
    }
