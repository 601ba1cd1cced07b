"""Signals: none is lost, whenever it comes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from scenewright_stages.worker.stopping import Stop, watch_signals


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
