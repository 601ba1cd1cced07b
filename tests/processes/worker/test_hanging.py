"""A process whose interpreter is held for ever ends: from its first moment on, and whoever reads what it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

GUARDED = """
import ctypes, os
from scenewright_stages.worker.process.watchdog import HangGuard
HangGuard({seconds}, 2)
{then}
"""
HOLD = "ctypes.PyDLL(None).sleep(30)"


def ends(then: str, seconds: float = 0.5, stderr: int = subprocess.PIPE) -> tuple[int, bytes, float]:
    """Exit code, what it printed, and how long it lived."""
    began = time.monotonic()
    command = [sys.executable, "-c", GUARDED.format(seconds=seconds, then=then)]
    with subprocess.Popen(command, stderr=stderr) as process:
        told = process.stderr.read() if process.stderr else b""
        return process.wait(25), told, time.monotonic() - began


@pytest.mark.parametrize("then", [HOLD, f"import time; time.sleep(2); {HOLD}"], ids=["at-once", "later"])
def test_who_holds_the_interpreter_is_ended_and_named(then: str) -> None:
    code, told, seconds = ends(then)
    assert code == 1 and b"Timeout" in told and b"<module>" in told
    assert seconds < 20.0


def test_a_process_that_lets_others_run_is_left_alone() -> None:
    code, told, seconds = ends("import time; time.sleep(2); os._exit(7)")
    assert (code, told) == (7, b"") and seconds > 2.0


@pytest.mark.slow
def test_it_ends_although_nobody_reads_where_it_hangs() -> None:
    """The trace cannot be written into a full pipe: the kernel's timer ends the process."""
    reader, writer = os.pipe()
    try:
        os.set_blocking(writer, False)
        with pytest.raises(BlockingIOError):
            while True:
                os.write(writer, bytes(1 << 16))
        with pytest.raises(BlockingIOError):
            while True:
                os.write(writer, b"\0")
        os.set_blocking(writer, True)
        code, _, _ = ends(HOLD, stderr=writer)
        assert code == -signal.SIGALRM
    finally:
        os.close(reader)
        os.close(writer)
