"""The folder in which a process keeps copies and outputs on their way, and what dead processes left of theirs."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "scenewright-"


def make_scratch(parent: Path) -> Path:
    """A fresh folder for this process below `parent`; folders of processes that are gone are removed."""
    parent.mkdir(parents=True, exist_ok=True)
    for folder in parent.glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        # Another process that starts now may remove it first.
        with contextlib.suppress(FileNotFoundError):
            if owner.isdigit() and not Path(f"/proc/{owner}").exists() and folder.stat().st_uid == os.getuid():
                shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
