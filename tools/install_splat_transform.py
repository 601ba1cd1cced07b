"""Installs PlayCanvas' splat-transform into the package that runs it.

Run ``python tools/install_splat_transform.py``. npm downloads the package named in ``splat_transform/`` and verifies
the hashes in its lock file. Its bindings to GPUs are left out: the stages run it on CPUs. It does nothing if this
version is installed.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from build_viewer import NodeError, find_node, run_tool

SOURCES = Path(__file__).parent / "splat_transform"
FOLDER = Path(__file__).parents[1] / "stages/scenewright_stages/vision/gaussians/formats/splat_transform"
STAMP = FOLDER / "installed"
# All files lie in one folder there, which the program must be told: (old text, new text) by file.
_CHANGES = {
    "cli.mjs": (("from 'webgpu'", "from './no_webgpu.mjs'"), ("'../lib/webp.wasm'", "'./webp.wasm'")),
    "worker.mjs": (("'../lib/webp.wasm'", "'./webp.wasm'"),),
}


def install() -> bool:
    """Installs the program unless it is current; returns whether it did.

    Raises:
        NodeError: Node.js is missing, npm failed, or the package is not laid out as expected.
    """
    lock = (SOURCES / "package-lock.json").read_text()
    version = json.loads(lock)["packages"]["node_modules/@playcanvas/splat-transform"]["version"]
    wanted = f"{version}\n{lock}"
    if (FOLDER / "start.mjs").is_file() and STAMP.is_file() and STAMP.read_text() == wanted:
        return False
    tools = find_node()
    run_tool([*tools.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], SOURCES, tools)
    package = SOURCES / "node_modules/@playcanvas/splat-transform"
    for file in (*sorted((package / "dist").glob("spz-*.js")), package / "lib/webp.wasm"):
        shutil.copyfile(file, FOLDER / file.name)
    for name, changes in _CHANGES.items():
        text = (package / "dist" / name).read_text(encoding="utf-8")
        for old, new in changes:
            if old not in text:
                raise NodeError(f"{package}/dist/{name} does not hold {old}: this version needs other changes")
            text = text.replace(old, new)
        (FOLDER / name).write_text(text, encoding="utf-8")
    start = (package / "bin/cli.mjs").read_text()
    (FOLDER / "start.mjs").write_text(start.replace("../dist/", "./"))
    shutil.copyfile(SOURCES / "no_webgpu/index.js", FOLDER / "no_webgpu.mjs")
    (FOLDER / "LICENCE.txt").write_text((package / "LICENSE").read_text())
    STAMP.write_text(wanted)
    return True


def main() -> int:
    """Installs if needed and prints what it did; returns the exit code."""
    try:
        installed = install()
    except NodeError as error:
        print(f"splat-transform not installed: {error}", file=sys.stderr)
        return 1
    print(f"splat-transform {'installed' if installed else 'is up to date'}: {FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
