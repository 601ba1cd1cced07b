"""Levels of detail that PlayCanvas streams: a tree in ``lod-meta.json`` over SOG files, one or more for each level.

splat-transform thins the scene out for each further level and writes all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scenewright_stages.vision.gaussians.formats.errors import FormatError
from scenewright_stages.vision.gaussians.formats.sog import read_sog
from scenewright_stages.vision.gaussians.formats.splat_transform import convert
from scenewright_stages.vision.gaussians.scene import GaussianScene

META = "lod-meta.json"
_SHARES = ("25%", "6%")
"""Splats of the coarser levels, as shares of all."""
_LEAST = 1000
"""A scene with fewer splats has one level: a quarter of it would show nothing."""


def write_lod(finest: Path, count: int, folder: Path) -> None:
    """Writes a PLY of so many splats and two coarser levels into a folder. The levels are made beside the PLY."""
    folder.mkdir(exist_ok=True)
    levels = [finest]
    for number, share in enumerate(_SHARES if count >= _LEAST else (), start=1):
        levels.append(finest.with_name(f"{number}.ply"))
        convert(finest, levels[-1], before_target=("--decimate", share))
    first, *others = levels
    tagged = [text for number, each in enumerate(others, start=1) for text in (str(each), "-l", str(number))]
    convert(first, folder / META, before_target=("-l", "0", *tagged))


def read_finest(folder: Path) -> GaussianScene:
    """The finest level, whole.

    Raises:
        FormatError: the folder holds no levels, or is damaged.
    """
    try:
        meta = json.loads((folder / META).read_text())
        parts = sorted(_parts(meta["tree"]), key=lambda part: (part["file"], part["offset"]))
        names = [meta["filenames"][part["file"]] for part in parts]
    except (OSError, KeyError, ValueError) as problem:
        raise FormatError(f"{folder.name} has no levels of detail: {problem}") from problem
    files = {name: read_sog((folder / name).parent) for name in dict.fromkeys(names)}
    found = [
        files[name].select(slice(part["offset"], part["offset"] + part["count"]))
        for name, part in zip(names, parts, strict=True)
    ]
    return GaussianScene.concatenate(found)


def _parts(node: dict[str, Any]) -> Iterator[dict[str, int]]:
    if "0" in node.get("lods", {}):
        yield node["lods"]["0"]
    for child in node.get("children", ()):
        yield from _parts(child)
