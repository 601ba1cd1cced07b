"""``scenewright export``: starts the data plane's exporter, which needs renderers and the writers of other formats."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

_TOOL = "scenewright_stages.scenes.export.command"


def export_command(arguments: Sequence[str]) -> int:
    """Runs the exporter in a separate process; returns its exit code."""
    return subprocess.run([sys.executable, "-m", _TOOL, *arguments], check=False).returncode
