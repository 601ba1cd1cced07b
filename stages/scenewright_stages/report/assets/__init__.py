"""Build products that report pages embed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

VIEWER_PATH = Path(__file__).parent / "viewer.js"
WASM_PATH = Path(__file__).parent / "viewer.wasm"
STAMP_PATH = Path(__file__).parent / "viewer.stamp"


class ViewerNotBuiltError(FileNotFoundError):
    """The 3D view's script is missing from this installation."""


@cache
def viewer_script() -> str:
    """JavaScript of the 3D view, a classic script that finds its WebAssembly in ``scenewrightWasm``.

    Raises:
        ViewerNotBuiltError: it was never built; the message names the build command.
    """
    return _built(VIEWER_PATH).decode("utf-8")


@cache
def viewer_wasm() -> bytes:
    """WebAssembly of the 3D view.

    Raises:
        ViewerNotBuiltError: it was never built; the message names the build command.
    """
    return _built(WASM_PATH)


def _built(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ViewerNotBuiltError(f"{path} is missing: run `python tools/build_viewer.py`") from error
