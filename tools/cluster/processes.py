"""Runs the processes of an environment in one process group, which ends with the process that started it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .problems import DidNotStart

STOP_SECONDS = 10.0


class ProcessGroup:
    """Starts components and ends them, even if this process is killed.

    A guard process in the group reads a pipe whose other end only this process holds. When this process is gone, the
    guard kills the group. (A parent-death signal would come too early, when the starting *thread* ends.)

    Args:
        folder: logs go to ``<folder>/logs/<component>.log``.
        on_death: shell command to run after the guard has killed the group.
    """

    def __init__(self, folder: Path, on_death: str = "") -> None:
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _guard_script(on_death)], stdin=subprocess.PIPE, process_group=0, cwd="/"
        )
        self._components: dict[str, Component] = {}

    def start(
        self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> Component:
        """Starts a component; names must be unique."""
        component = Component(name, [str(part) for part in command], dict(environment or {}), self)
        component.start()
        self._components[name] = component
        return component

    @property
    def number(self) -> int:
        """Id of the process group."""
        return self._guard.pid

    def components(self) -> tuple[Component, ...]:
        """All components, in the order in which they were started."""
        return tuple(self._components.values())

    def stop(self) -> None:
        """Ends the components in reverse order, and then the guard."""
        for component in reversed(self.components()):
            component.stop()
        self._guard.communicate(b"stopped\n")


class Component:
    """One process with its log; can be ended and started again with the same command."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], group: ProcessGroup) -> None:
        self.name = name
        self.log = group.logs / f"{name}.log"
        self._command = command
        self._environment = environment
        self._group = group
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id; None while it is not running."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Starts the process; appends to its log."""
        if self.pid is not None:
            raise RuntimeError(f"{self.name} is running")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                process_group=self._group.number,
            )

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Sends SIGTERM, and SIGKILL if the process has not ended after `seconds`."""
        if self._process is None:
            return
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Sends SIGKILL and waits for the process to end."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal; does nothing if the process has ended."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Waits until `ready` returns true.

        Raises:
            DidNotStart: the process ended, or was not ready in time.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.pid is None:
                raise DidNotStart(f"{self.name} ended: {self.tail()}")
            if ready():
                return
            time.sleep(0.05)
        raise DidNotStart(f"{self.name} was not ready after {seconds:.0f} s: {self.tail()}")

    def tail(self, characters: int = 1500) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""


def _guard_script(on_death: str) -> str:
    # The last shell runs in a new session, so that it survives the group that it kills.
    last = shlex.quote(f"kill -s KILL -- -$1; {on_death}")
    return f'read -r word\n[ "$word" = stopped ] || exec setsid sh -c {last} guard $$ </dev/null >/dev/null 2>&1'


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Distinct ports that are free now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((host, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def accepts_connections(host: str, port: int) -> bool:
    """Whether something listens on the port."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1):
        return True
    return False
