"""Opens the web page for `make cluster`, with the administrator's kubeconfig, and ends it with the cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from pathlib import Path

import yaml

from . import trial
from .storage import StorageServer

PORT = 8088
_START_SECONDS = 30.0


def start(kubeconfig: Path, server: StorageServer, folder: Path) -> str:
    """Starts the page in the background and returns its address; empty if it does not start."""
    stop(folder)
    config = folder / "lab.yaml"
    settings = {
        "namespaces": [trial.NAMESPACE],
        "outputs": {trial.NAMESPACE: [f"s3://{trial.SCENES}/lab"]},
        "uploads": f"s3://{trial.PHOTOS}/lab",
        "spec": {"storage": {"secretName": trial.SECRET}},
    }
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    command = [sys.executable, "-m", "scenewright.cli.main", "serve", "--cluster", "--config", str(config)]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), **server.environment()}
    with (folder / "lab.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--port", str(PORT)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _pid_file(folder).write_text(str(process.pid))
    address = f"http://127.0.0.1:{PORT}"
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"{address}/healthz", timeout=1),
        ):
            if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
                webbrowser.open(address)
            return address
        time.sleep(0.2)
    return ""


def stop(folder: Path) -> None:
    """Ends the page that `start` began, if it still runs."""
    try:
        process = int(_pid_file(folder).read_text())
        command = Path(f"/proc/{process}/cmdline").read_bytes()
    except (OSError, ValueError):
        return
    if b"serve" in command and b"scenewright" in command:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
    _pid_file(folder).unlink(missing_ok=True)


def _pid_file(folder: Path) -> Path:
    return folder / "lab.pid"
