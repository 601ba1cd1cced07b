"""The progress endpoint as the operator's process uses it; nothing where it is switched off."""

from __future__ import annotations

import asyncio
from typing import Protocol

from scenewright.reconcile.cluster.connection import Connection
from scenewright.reconcile.cluster.store import Store
from scenewright.reconcile.observation import ObservedPod
from scenewright.reconcile.observing import NoProgress, ProgressSource
from scenewright.reconcile.settings import OperatorSettings


class Progress(Protocol):
    """A source of counters and the loop that receives them."""

    source: ProgressSource

    async def run(self) -> None:
        """Never returns."""
        ...


class Off:
    """No endpoint."""

    def __init__(self) -> None:
        self.source: ProgressSource = NoProgress()

    async def run(self) -> None:
        """Waits for ever."""
        await asyncio.Event().wait()


def open_progress(settings: OperatorSettings, connection: Connection, pods: Store[ObservedPod]) -> Progress:
    """The endpoint that the settings ask for."""
    return Off()
