"""Runs a whole cluster in the background, for ``make cluster`` and ``make cluster-down``."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from . import ownership, whole_cluster
from .problems import DidNotStart, Unavailable
from .toolchain import cache_folder

START_SECONDS = 3600.0
STOP_SECONDS = 120.0


def start(folder: Path) -> None:
    """Starts a cluster in a new session, shows its output and waits until it is ready.

    The first start builds binaries for several minutes. Does nothing if a cluster is running.

    Raises:
        DidNotStart: the cluster ended or was not ready in time; its output is shown above.
    """
    if whole_cluster.is_ready(folder):
        print("a cluster is running already")
        return
    log = cache_folder().parent / "cluster" / "log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        command = [sys.executable, "-u", str(Path(__file__).parent), "node", "--folder", str(folder)]
        owner = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    _follow(owner, log, folder)


def stop(folder: Path) -> None:
    """Ends a cluster and removes everything that it left behind, even if it was killed or never ran.

    Raises:
        Unavailable: not root.
    """
    if os.geteuid() != 0:
        raise Unavailable("only root can end a whole cluster")
    deadline = time.monotonic() + STOP_SECONDS
    first = True
    while (owner := ownership.owner(folder)) is not None:
        with contextlib.suppress(ProcessLookupError):
            if first:
                os.kill(owner, signal.SIGTERM)
            elif time.monotonic() > deadline:
                os.kill(owner, signal.SIGKILL)
        first = False
        time.sleep(0.2)
    whole_cluster.clean(folder)


def _follow(owner: subprocess.Popen[bytes], log: Path, folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with log.open() as lines:
        while time.monotonic() < deadline:
            ended, ready = owner.poll() is not None, whole_cluster.is_ready(folder)
            sys.stdout.write(lines.read())
            sys.stdout.flush()
            if ready:
                return
            if ended:
                raise DidNotStart("the cluster did not start (see above)")
            time.sleep(0.2)
    raise DidNotStart(f"the cluster was not ready after {START_SECONDS:.0f} s")
