"""The command `scenewright` with workers that are forked from it, for runs of many tiny stages.

    python forked_workers.py run one.yaml two.yaml

Importing PyTorch takes longer than such a stage runs. This process imports what the stages of the fixer's loop need
and starts nothing of it; each worker begins as a fork of it and otherwise as a process of its own: session, variables,
log and descriptors are those that `StageProcess` asks for.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from scenewright.cli.main import main as run_command
from scenewright.execution import process
from scenewright_stages.worker.process.main import main

LOADED = (
    "difix.pair",
    "difix.spoil",
    "difix.tune",
    "difix.evaluate",
    "difix.catalogue",
    "difix.report",
    "reconstruct.train",
    "reconstruct.fix",
    "reconstruct.render",
    "reconstruct.report",
    "scenes.captures",
    "worker.stage.checks",
    "vision.gaussians.cpu_fitting",
)


class ForkedWorker:
    """What `StageProcess` needs of `subprocess.Popen`."""

    def __init__(
        self,
        command: list[str],
        env: Mapping[str, str],
        stdin: int,
        stdout: IO[bytes],
        stderr: int,
        start_new_session: bool,
        pass_fds: tuple[int, ...],
    ) -> None:
        assert command[1:] == ["-m", process.WORKER_MODULE]
        assert (stdin, stderr, start_new_session) == (subprocess.DEVNULL, subprocess.STDOUT, True)
        self.returncode: int | None = None
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            _become_worker(env, stdout.fileno(), pass_fds)

    def poll(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""
        if self.returncode is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if found else None
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; TimeoutExpired when it still runs after so many seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("worker", timeout or 0)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        """Sends a signal."""
        os.kill(self.pid, number)


def _become_worker(environment: Mapping[str, str], log: int, kept: tuple[int, ...]) -> None:
    """Runs the worker in the child of a fork; never returns."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    for source, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    # Of all other descriptors the child may have none: the other end of its life line is among them.
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        descriptor = int(name)
        if descriptor > 2 and descriptor not in kept and Path(f"/proc/self/fd/{name}").exists():
            os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    main()
    os._exit(99)


if __name__ == "__main__":
    for module in LOADED:
        importlib.import_module(f"scenewright_stages.{module}")
    process.subprocess.Popen = ForkedWorker  # type: ignore[attr-defined,misc,assignment]
    run_command()
