"""``scenewright crds``."""

from __future__ import annotations

import sys
from pathlib import Path

from scenewright.api.crds import crd_files


def crds_command(folder: Path, check: bool) -> int:
    """Writes the CRDs, or tells which files differ from what would be written."""
    files = crd_files()
    different = [name for name, text in files.items() if _content(folder / name) != text]
    if check:
        for name in different:
            sys.stderr.write(f"error: {folder / name}: differs from the API; run `scenewright crds`\n")
        return 1 if different else 0
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        print(f"{folder / name}{'' if name in different else ' (unchanged)'}")
    return 0


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
