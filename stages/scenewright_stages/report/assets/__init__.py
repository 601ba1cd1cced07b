"""Build products that report pages embed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

VIEWER_PATH = Path(__file__).parent / "viewer.js"
STAMP_PATH = Path(__file__).parent / "viewer.stamp"


class ViewerNotBuiltError(FileNotFoundError):
    """The 3D view's script is missing from this installation."""


@cache
def viewer_script() -> str:
    """JavaScript of the 3D view, one classic script without dependencies.

    Raises:
        ViewerNotBuiltError: if it was never built; the message names the command that builds it.
    """
    try:
        return VIEWER_PATH.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ViewerNotBuiltError(f"{VIEWER_PATH} is missing: run `python tools/build_viewer.py`") from error
