"""``scenewright crds``."""

from __future__ import annotations

import sys
from pathlib import Path

from scenewright.api.crds import crd_files


def crds_command(folders: list[Path], check: bool) -> int:
    """Writes the CRDs into every folder, or tells which files differ from what would be written."""
    files = {folder / name: text for folder in folders for name, text in crd_files().items()}
    different = [path for path, text in files.items() if _content(path) != text]
    if check:
        for path in different:
            sys.stderr.write(f"error: {path}: differs from the API; run `scenewright crds`\n")
        return 1 if different else 0
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"{path}{'' if path in different else ' (unchanged)'}")
    return 0


def _content(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
