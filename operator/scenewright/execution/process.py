"""Starts, watches and ends stage processes. A fork server starts them; none outlives the command line."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from scenewright.execution.folders import ShardFolder
from scenewright.planning.tasks import task_text
from scenewright_stages.contract.forks import FORK_SERVER_MODULE, SOCKET_ENVIRONMENT, UNEXPECTED, Request
from scenewright_stages.contract.task import SHARD_ENVIRONMENT, Task, task_environment

WORKER_MODULE = "scenewright_stages.worker"
"""Module that a Pod runs."""
WORKER_MAIN = "scenewright_stages.worker.main"
"""Function that a forked process runs."""
POLL_SECONDS = 0.1
COUNTING_SECONDS = 1.0
"""Time for the server to reap ended workers, so that their CPU time counts as ours."""


class WorkerServer:
    """The process that forks the workers of a run. It starts with the first worker, and again if it dies.

    Args:
        environment: common environment of all workers, needed here because imports read the thread variables.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def start_worker(self, environment: Mapping[str, str], log: int, liveness_pipe: int, status: int) -> None:
        """Requests a worker. Its process number and exit code arrive through the `status` pipe.

        Raises:
            OSError: the server cannot be started.
        """
        request = Request(WORKER_MAIN, environment, log, liveness_pipe, status)
        if self._connection is not None:
            with contextlib.suppress(OSError):
                request.send(self._connection)
                return
        request.send(self._restart(log))

    def close(self) -> None:
        """Ends the server after giving it a moment to reap ended workers. Running workers are not affected."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(COUNTING_SECONDS)
            self._process.kill()
            self._process.wait()
            self._process = None

    def _restart(self, log: int) -> socket.socket:
        self.close()
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", FORK_SERVER_MODULE],
                env={**self._environment, "PYTHONUNBUFFERED": "1", SOCKET_ENVIRONMENT: str(theirs.fileno())},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(theirs.fileno(),),
            )
        return self._connection


class StageProcess:
    """A running worker process. As a context manager it always ends the process.

    The worker has its own session, so that Ctrl-C reaches it only through this process. It notices the death of this
    process, even by SIGKILL, by the end of the life line: a pipe whose write end only this process holds.
    """

    def __init__(
        self, server: WorkerServer, task: Task, shard: int, folder: ShardFolder, environment: Mapping[str, str]
    ) -> None:
        self._received = b""
        self._pending: list[int] = []
        self._ended: int | None = None
        worker_end, self._life_line = os.pipe()
        self._status, status = os.pipe()
        try:
            with folder.log_file.open("ab") as log:
                variables = _environment(task, shard, folder, environment)
                server.start_worker(variables, log.fileno(), worker_end, status)
        except BaseException:
            os.close(self._life_line)
            os.close(self._status)
            raise
        finally:
            os.close(worker_end)
            os.close(status)

    def is_running(self) -> bool:
        self._listen(0.0)
        return self._ended is None

    def wait_a_moment(self) -> None:
        """Waits for the process to end, at most a tenth of a second."""
        self._listen(POLL_SECONDS)

    @property
    def code(self) -> int:
        """Exit code of the ended process, negative for a signal."""
        while self._ended is None:
            self._listen(None)
        return self._ended

    def signal(self, number: int) -> None:
        """Sends a signal to the process once it has started; does nothing if it has ended."""
        self._pending.append(number)
        self._deliver()

    def kill(self) -> None:
        """Kills the process and everything that it started."""
        self.signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ended is None:
            self.kill()
            _ = self.code
        os.close(self._life_line)
        os.close(self._status)

    def _listen(self, seconds: float | None) -> None:
        """Reads the status pipe: first the process number, then the exit code."""
        if self._ended is not None or not select.select([self._status], [], [], seconds)[0]:
            return
        received = os.read(self._status, 64)
        self._received += received
        worker, *code = [int(line) for line in self._received.split()] or [0]
        if code:
            self._ended = code[0]
        elif not received:
            self._ended = _end_of_lost(worker) if worker else UNEXPECTED
        else:
            self._deliver()

    def _deliver(self) -> None:
        while self._received and self._ended is None and self._pending:
            _send(int(self._received.split()[0]), self._pending.pop(0))


def _send(worker: int, number: int) -> None:
    """Sends a signal to a worker; SIGKILL also to everything that it has started."""
    with contextlib.suppress(ProcessLookupError):
        if number == signal.SIGKILL:
            with contextlib.suppress(ProcessLookupError):
                # Just after the fork it has no process group of its own yet.
                os.killpg(worker, number)
        os.kill(worker, number)


def _end_of_lost(worker: int) -> int:
    """Kills a worker whose server is gone and waits for it to end; returns its exit code."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(worker)
        _send(worker, signal.SIGKILL)
        select.select([descriptor], [], [])
        os.close(descriptor)
    return -signal.SIGKILL


def _environment(task: Task, shard: int, folder: ShardFolder, environment: Mapping[str, str]) -> dict[str, str]:
    return {
        **environment,
        "PYTHONUNBUFFERED": "1",
        **task_environment(task_text(task)),
        SHARD_ENVIRONMENT: str(shard),
        "SCENEWRIGHT_REPORT_DIR": str(folder.path),
        "SCENEWRIGHT_PROGRESS_FILE": str(folder.progress_file),
        "SCENEWRIGHT_TERMINATION_LOG": str(folder.path / "termination.json"),
        "SCENEWRIGHT_HOLDER_PID": str(os.getpid()),
    }
