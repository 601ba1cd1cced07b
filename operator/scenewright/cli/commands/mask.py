"""``scenewright mask``: starts the data plane's mask tool, which needs OpenCV and, for SAM 2, a model."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

_TOOL = "scenewright_stages.reference.mask_tool"


def mask_command(arguments: Sequence[str]) -> int:
    """Runs the tool in a separate process; returns its exit code."""
    return subprocess.run([sys.executable, "-m", _TOOL, *arguments], check=False).returncode
