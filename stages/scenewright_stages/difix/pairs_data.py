"""Loads pairs for training: ``difix/data.json`` and the images that it names.

A data set made by this project also offers the conditions of each render. A foreign data set lacks those and the
groups; its pairs get full coverage, no warped reference, and one group each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from scenewright_stages.backends.fix.interface import FlawedView
from scenewright_stages.contract.errors import ConfigurationError

DATA = "difix/data.json"
_FIELD = "spec.dataset"


@dataclass(frozen=True)
class PairFiles:
    """Local files of a pair.

    Attributes:
        name: its id.
        group: pairs of one group are never split.
        image, target, reference, conditions: local files; the last two may be missing.
    """

    name: str
    group: str
    image: Path
    target: Path
    reference: Path | None
    conditions: Path | None


@dataclass(frozen=True, eq=False)
class LoadedPair:
    """A pair in memory: the render with its conditions, and the photograph, (H, W, 3) float32 in [0, 1].

    `counted` (H, W) bool marks the photograph's valid pixels; None if all are.
    """

    view: FlawedView
    target: NDArray[np.float32]
    counted: NDArray[np.bool_] | None = None

    def judged(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """A picture (H, W, 3) with the photograph's colours where its pixels do not count, so they cost nothing."""
        return picture if self.counted is None else np.where(self.counted[..., None], picture, self.target)


def read_pairs(root: Path, side: str) -> list[PairFiles]:
    """The pairs of one side of the split, sorted by id.

    Raises:
        ConfigurationError: the data set has no pairs, or lacks files that it names.
    """
    path = root / DATA
    if not path.is_file():
        raise ConfigurationError(_FIELD, root.name, f"has no {DATA}: name a data set of pairs")
    entries: dict[str, dict[str, str]] = json.loads(path.read_text()).get(side, {})
    return [_files(root, name, entry) for name, entry in sorted(entries.items())]


@lru_cache(maxsize=512)
def load_pair(files: PairFiles) -> LoadedPair:
    """Loads a pair.

    Raises:
        ConfigurationError: an image cannot be read, or the sizes differ.
    """
    image, target = _picture(files.image), _picture(files.target)
    if image.shape != target.shape:
        raise ConfigurationError(_FIELD, files.name, f"its pictures differ in size: {image.shape}, {target.shape}")
    if files.conditions is None:
        return LoadedPair(FlawedView.alone(image), target)
    with np.load(files.conditions, allow_pickle=False) as known:
        alpha, warped = (known[name].astype(np.float32) / 255 for name in ("alpha", "warped"))
        counted = known["counted"] > 0 if "counted" in known.files else None
        return LoadedPair(FlawedView(image, alpha, warped, known["valid"] > 0), target, counted)


@lru_cache(maxsize=256)
def load_reference(path: Path) -> NDArray[np.float32]:
    """Loads a reference photograph, (H, W, 3) in [0, 1]. Raises ConfigurationError if it cannot be read."""
    return _picture(path)


def validation_split(pairs: Sequence[PairFiles], fraction: float) -> tuple[list[PairFiles], list[PairFiles]]:
    """Splits pairs into training and validation, by the hashes of their group names; groups stay whole.

    A single group is split by pair.
    """
    groups = sorted({pair.group for pair in pairs}, key=_hash)
    if len(groups) > 1:
        held = set(groups[: max(1, round(fraction * len(groups)))])
        chosen = [pair for pair in pairs if pair.group in held]
    else:
        ordered = sorted(pairs, key=lambda pair: _hash(pair.name))
        chosen = ordered[: max(1, round(fraction * len(ordered)))]
    names = {pair.name for pair in chosen}
    kept = [pair for pair in pairs if pair.name not in names]
    return (kept, chosen) if kept else (list(pairs), list(pairs))


def _files(root: Path, name: str, entry: dict[str, Any]) -> PairFiles:
    places = {key: _place(root, str(entry[key])) for key in ("image", "target_image", "ref_image") if key in entry}
    for key in ("image", "target_image"):
        if key not in places or not places[key].is_file():
            raise ConfigurationError(_FIELD, name, f"{DATA} names no {key} that is there")
    meta = places["image"].parent / "meta.json"
    group = json.loads(meta.read_text())["group_id"] if meta.is_file() else name
    conditions = root / ".scenewright/work/pairs" / f"{name}.npz"
    return PairFiles(
        name,
        group,
        places["image"],
        places["target_image"],
        places.get("ref_image"),
        conditions if conditions.is_file() else None,
    )


def _place(root: Path, named: str) -> Path:
    """Path in the local copy of a file that ``data.json`` may name by an absolute path."""
    inside = root / named
    if not inside.is_file() and "samples/" in named:
        inside = root / named[named.rindex("samples/") :]
    return inside


def _picture(path: Path) -> NDArray[np.float32]:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ConfigurationError(_FIELD, path.name, "is no readable picture")
    return (np.ascontiguousarray(pixels[..., ::-1]) / 255).astype(np.float32)


def _hash(name: str) -> str:
    return hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
