"""The Rerun viewer of ``run --rerun``, which shows a scene while it grows.

With a screen the viewer is a window that stays open after the command. Without one it is a page for a browser, served
until the command ends; in a terminal the command then waits for Ctrl-C. Either way it is Rerun's command in a separate
process: this process does not load its SDK.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO
from urllib.parse import quote

from scenewright.planning.problems import ABSENT, Problem, SpecError

HOST = "127.0.0.1"
START_SECONDS = 30.0
"""Longest time until a viewer must listen."""


@dataclass(frozen=True)
class Viewer:
    """Where a viewer listens: `port` for data of the stages, `web_port` for the page, 0 if the viewer is a window."""

    port: int
    web_port: int = 0

    @property
    def address(self) -> str:
        """Value for the field ``liveViewer``."""
        return f"rerun+http://{HOST}:{self.port}/proxy"

    @property
    def ports(self) -> tuple[int, ...]:
        return (self.port, self.web_port) if self.web_port else (self.port,)

    @property
    def page(self) -> str:
        """Address for a browser; empty if the viewer is a window."""
        return f"http://{HOST}:{self.web_port}?url={quote(self.address, safe='')}" if self.web_port else ""

    def command(self) -> list[str]:
        """The command that starts it."""
        begin = [sys.executable, "-m", "rerun", "--port", str(self.port), "--bind", HOST]
        return [*begin, "--serve-web", "--web-viewer-port", str(self.web_port)] if self.web_port else begin


def viewer_here(environment: Mapping[str, str] = os.environ, system: str = sys.platform) -> Viewer:
    """A window if there is a screen, else a page; on free ports."""
    has_screen = system in ("darwin", "win32") or bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
    with socket.create_server((HOST, 0)) as first, socket.create_server((HOST, 0)) as second:
        return Viewer(first.getsockname()[1], 0 if has_screen else second.getsockname()[1])


@contextmanager
def showing(viewer: Viewer) -> Iterator[Callable[[], None]]:
    """Starts the viewer and prints its address on stderr. At the end a page is stopped, and a window stays open.

    Yields:
        a function that keeps serving the page until Ctrl-C; with a window it returns at once.

    Raises:
        SpecError: the viewer does not start.
    """
    stays = False
    with tempfile.TemporaryFile() as log:
        # A new session protects it from the Ctrl-C that is meant for the stages.
        process = subprocess.Popen(viewer.command(), stdout=log, stderr=log, start_new_session=True)

        def wait() -> None:
            if viewer.page:
                # Otherwise a closed terminal would end this process and leave the page's server running.
                for number in (signal.SIGHUP, signal.SIGTERM):
                    signal.signal(number, signal.default_int_handler)
                with suppress(KeyboardInterrupt):
                    sys.stderr.write(f"The viewer stays at {viewer.page} until Ctrl-C.\n")
                    process.wait()

        try:
            _wait_until_listening(viewer, process, log)
            sys.stderr.write(f"viewer: {viewer.page or 'a window of Rerun'}\n")
            stays = not viewer.page
            yield wait
        finally:
            if not stays:
                # With its child process, and by force, since it does not always react to an interrupt.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait_until_listening(viewer: Viewer, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        # The page's port opens a moment after the stages' port.
        if all(_listens(port) for port in viewer.ports):
            return
        time.sleep(0.05)
    log.seek(0)
    said = log.read().decode(errors="replace").strip().splitlines()
    why = said[-1].strip() if said else f"it does not listen after {START_SECONDS:.0f} s"
    raise SpecError([Problem("--rerun", ABSENT, f"the viewer did not start: {why}")])


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), 1.0):
        return True
    return False
