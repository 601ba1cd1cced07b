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
    """JavaScript of the 3D view, a classic script without dependencies.

    Raises:
        ViewerNotBuiltError: it was never built; the message names the build command.
    """
    try:
        return VIEWER_PATH.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ViewerNotBuiltError(f"{VIEWER_PATH} is missing: run `python tools/build_viewer.py`") from error
