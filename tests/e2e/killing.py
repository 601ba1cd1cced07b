"""Ends a command and every process that it started, as a power cut would."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from scene_jobs import COMMAND


def start(*arguments: object) -> subprocess.Popen[bytes]:
    """The command in the background."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def kill_tree(process: subprocess.Popen[bytes]) -> bool:
    """SIGKILL to a process and all that descends from it; whether it still ran.

    Each is stopped before its children are looked up, so that none can start another meanwhile.
    """
    if process.poll() is not None:
        return False
    family: list[int] = []
    pending = [process.pid]
    while pending:
        number = pending.pop()
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGSTOP)
            family.append(number)
            pending += children(number)
    for number in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    process.wait(20)
    await_ends(family)
    return True


def children(number: int) -> list[int]:
    """Processes that a process has started, by all of its threads."""
    found: list[int] = []
    for listing in Path(f"/proc/{number}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in listing.read_text().split()]
    return found


def workers(command: int) -> list[int]:
    """The workers of a command: its server forks a keeper for each, and the keeper the worker."""
    keepers = [keeper for server in children(command) for keeper in children(server)]
    return [worker for keeper in keepers for worker in children(keeper)]


def await_ends(numbers: list[int], seconds: float = 20.0) -> None:
    """Returns when none of the processes runs any more."""
    deadline = time.monotonic() + seconds
    while any(_runs(number) for number in numbers):
        assert time.monotonic() < deadline, f"of {numbers} some still run"
        time.sleep(0.01)


def _runs(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
