"""The Rerun viewer of ``run --rerun``, in which a scene is seen while it grows.

With a screen the viewer is a window, which stays open after the command. Without one it is a page for a browser, served
until the command ends; in a terminal the command then waits for Ctrl-C. Either way it is Rerun's own command in a
process of its own: nothing of its SDK is loaded here.
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
"""How long a viewer may take until it listens."""


@dataclass(frozen=True)
class Viewer:
    """Where a viewer listens.

    Attributes:
        port: takes what the stages send.
        web_port: serves the page; 0: the viewer is a window.
    """

    port: int
    web_port: int = 0

    @property
    def address(self) -> str:
        """What the field ``liveViewer`` says."""
        return f"rerun+http://{HOST}:{self.port}/proxy"

    @property
    def ports(self) -> tuple[int, ...]:
        """All that it listens on."""
        return (self.port, self.web_port) if self.web_port else (self.port,)

    @property
    def page(self) -> str:
        """Address for a browser; empty when the viewer is a window."""
        return f"http://{HOST}:{self.web_port}?url={quote(self.address, safe='')}" if self.web_port else ""

    def command(self) -> list[str]:
        """Starts it."""
        begin = [sys.executable, "-m", "rerun", "--port", str(self.port), "--bind", HOST]
        return [*begin, "--serve-web", "--web-viewer-port", str(self.web_port)] if self.web_port else begin


def viewer_here(environment: Mapping[str, str] = os.environ, system: str = sys.platform) -> Viewer:
    """A window where there is a screen, else a page; on ports that are free."""
    has_screen = system in ("darwin", "win32") or bool(environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))
    with socket.create_server((HOST, 0)) as first, socket.create_server((HOST, 0)) as second:
        return Viewer(first.getsockname()[1], 0 if has_screen else second.getsockname()[1])


@contextmanager
def showing(viewer: Viewer) -> Iterator[Callable[[], None]]:
    """Starts the viewer and says on standard error where it is; ends a page, and leaves a window open.

    Yields:
        a function that waits until Ctrl-C while the page is served on; with a window it returns at once.

    Raises:
        SpecError: the viewer does not start.
    """
    stays = False
    with tempfile.TemporaryFile() as log:
        # In a session of its own it does not get the Ctrl-C that is meant for the stages.
        process = subprocess.Popen(viewer.command(), stdout=log, stderr=log, start_new_session=True)

        def wait() -> None:
            if viewer.page:
                # A closed terminal would otherwise end this process and leave the page's server behind.
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
                _end(process)


def _wait_until_listening(viewer: Viewer, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        # The page is served a moment after the stages' port is open.
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


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the viewer with the process that it starts itself; it does not always hear an interrupt."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
