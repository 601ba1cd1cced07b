"""``scenewright crds``: writes or checks the files generated from the pipelines: CRDs and frozen defaults."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from scenewright.api.crds import crd_files
from scenewright_stages.contract.keys import frozen_table, refreshed_table
from scenewright_stages.pipelines import defaults_files


def crds_command(folders: list[Path], check: bool, installed: bool) -> int:
    """Writes the generated files, or with `check` reports which are out of date.

    With `installed`, CRDs include pipelines of other packages, and this package's frozen defaults stay as they are.
    """
    files = {folder / name: text for folder in folders for name, text in crd_files(built_in=not installed).items()}
    if not installed:
        frozen, changed = _frozen_defaults()
        for each in changed:
            sys.stderr.write(f"error: {each}: raise the version of the stage\n")
        if changed:
            return 1
        files |= frozen
    different = [path for path, text in files.items() if not (path.is_file() and path.read_text("utf-8") == text)]
    if check:
        for path in different:
            sys.stderr.write(f"error: {path}: differs from the pipelines; run `scenewright crds`\n")
        return 1 if different else 0
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"{path}{'' if path in different else ' (unchanged)'}")
    return 0


def _frozen_defaults() -> tuple[dict[Path, str], list[str]]:
    """The files with frozen defaults, and the defaults that changed without a new stage version."""
    files: dict[Path, str] = {}
    changed: list[str] = []
    for path, pipelines in defaults_files().items():
        tables = {}
        for name, pipeline in pipelines.items():
            tables[name], found = refreshed_table(pipeline.defaults, frozen_table(pipeline))
            changed += [f"{name}: {each}" for each in found]
        files[path] = json.dumps(tables, indent=1, sort_keys=True) + "\n"
    return files, changed
