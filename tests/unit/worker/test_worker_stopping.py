"""Signals: none is lost, whenever it comes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from scenewright_stages.worker.process import stopping
from scenewright_stages.worker.process.stopping import MAXIMUM_FLUSH_SECONDS, Stop, watch_last_moment, watch_signals


@pytest.fixture
def restored_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_while_the_handlers_are_set_up_is_not_lost(
    restored_handlers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = signal.signal

    def install_and_raise(number: int, handler: Any) -> Any:
        before = install(number, handler)
        if number == signal.SIGTERM:
            os.kill(os.getpid(), number)
        return before

    monkeypatch.setattr(signal, "signal", install_and_raise)
    stop = Stop(5.0)
    watch_signals(stop, lambda: None)
    monkeypatch.undo()
    assert stop.wait(5.0) and stop.reason == "SIGTERM"


def test_what_is_made_may_be_stored_until_the_grace_is_over() -> None:
    stop = Stop(25.0)
    assert stop.seconds_to_store() is None, "nobody asked for an end"
    stop.request("SIGTERM", urgent=False)
    seconds = stop.seconds_to_store()
    assert seconds is not None and 15.0 < seconds <= 20.0, "what the sample does not use, less the time for flushing"


@pytest.mark.parametrize(("grace", "urgent"), [(25.0, True), (4.0, False)])
def test_without_much_time_it_is_still_tried_for_a_moment(grace: float, urgent: bool) -> None:
    stop = Stop(grace)
    stop.request("signal", urgent=urgent)
    assert stop.seconds_to_store() == MAXIMUM_FLUSH_SECONDS


def test_who_still_waits_after_the_grace_is_left_and_nobody_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopping, "OVERTIME_SECONDS", 0.1)
    stop, left = Stop(0.3), threading.Event()
    watch_last_moment(stop, left.set)
    assert not left.wait(0.6), "nobody asked for an end"
    stop.request("SIGTERM", urgent=False)
    began = time.monotonic()
    stop.request("SIGTERM again", urgent=True)
    assert left.wait(30.0) and time.monotonic() - began >= 0.35
