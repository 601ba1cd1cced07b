"""kopf may fail and may not end: neither takes the operator with it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from typing import Any

import pytest

from scenewright.reconcile.watching import KopfLoop, configured


def test_what_does_not_end_is_left_without_killing_the_process() -> None:
    """The timer is kopf's own: had it gone off, nobody would read this test's result."""

    async def ends_never() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, signal.pthread_kill, threading.get_ident(), signal.SIGKILL)
        await asyncio.Event().wait()

    loop = KopfLoop()
    waiting: Any = ends_never()
    with contextlib.closing(loop), pytest.raises(RuntimeError, match="stopped before"):
        loop.run_until_complete(waiting)


def test_other_timers_go_off() -> None:
    async def waits() -> bool:
        rung = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, rung.set)
        return await asyncio.wait_for(rung.wait(), 5.0)

    with contextlib.closing(KopfLoop()) as loop:
        assert loop.run_until_complete(waits())


def test_kopf_is_given_little_time_to_end() -> None:
    """Until it has ended it is not started again, and changes of objects are seen by sweeps alone."""
    assert (configured().process.ultimate_exiting_timeout or 600.0) <= 10.0
