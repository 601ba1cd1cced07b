"""Installs pipelines of tests as other packages install theirs: by an entry point on the path of a process."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from scenewright.api.kinds import manifest_model, spec_model
from scenewright_stages.pipelines import GROUP, installed

SUPPORT = Path(__file__).parent


@cache
def plugin_folder(**targets: str) -> Path:
    """A folder with one distribution whose entry points are the targets, such as ``toy="toy_pipeline:PIPELINE"``.

    It works once it is on the path; the modules that it names have to be there too.
    """
    folder = Path(_folders().name) / str(plugin_folder.cache_info().currsize)
    distribution = folder / f"{'_'.join(targets)}-0.dist-info"
    distribution.mkdir(parents=True)
    (distribution / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {'-'.join(targets)}\nVersion: 0\n")
    lines = "".join(f"{name} = {target}\n" for name, target in targets.items())
    (distribution / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
    return folder


def with_plugins(**targets: str) -> dict[str, str]:
    """The environment of a process that finds these pipelines, this folder, and all that this process was told of."""
    folders = [str(plugin_folder(**targets))] if targets else []
    told = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {"PYTHONPATH": os.pathsep.join([*folders, str(SUPPORT), *told])}


def add_plugins(**targets: str) -> None:
    """Makes this process find these pipelines from now on."""
    sys.path[:0] = [*([str(plugin_folder(**targets))] if targets else []), str(SUPPORT)]
    _forget_pipelines()


@contextmanager
def plugins(**targets: str) -> Iterator[None]:
    """Makes this process find these pipelines for a while."""
    before = list(sys.path)
    add_plugins(**targets)
    try:
        yield
    finally:
        sys.path[:] = before
        _forget_pipelines()


def _forget_pipelines() -> None:
    for cached in (installed, spec_model, manifest_model):
        cached.cache_clear()


@cache
def _folders() -> tempfile.TemporaryDirectory[str]:
    """Lives as long as this process."""
    return tempfile.TemporaryDirectory(prefix="plugins-")
