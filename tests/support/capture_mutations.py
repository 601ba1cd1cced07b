"""Captures with one thing changed, of every kind of file and key: what the fuzz of the readers tries.

A mutation says by which words a user would recognise it; a reader must say one of them, in a note or in a refusal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np

Files = Mapping[str, bytes]
_WRONG: tuple[Any, ...] = ("text", [1, "x"], {"x": 1}, True, None, -1e400)
_NAMES = ("brightness", "my_scale", "distortion_q", "comment", "rolling_shutter_time", "axis_swap", "owner")
_EXTRAS = (
    "notes.txt", "images/IMG_9.CR2", "images/extra.png", "clip.mov", "points.las", "images/IMG_1.dng", "old/x.jpg",
    "sparse/0/extra.bin", "masks/nobody.png", "depth/000.npy", "database.db", "images/photo.jxl", "sub/readings.csv",
)  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """A changed capture.

    Attributes:
        title: for test reports.
        files: content by path.
        words: a note or refusal must hold one of them.
    """

    title: str
    files: Files
    words: tuple[str, ...]


def mutations(name: str, files: Files, random: np.random.Generator) -> Iterator[Mutation]:
    """All single changes of a capture; random numbers choose places and values."""
    for key in sorted(files):
        stem = PurePosixPath(key).stem
        others = {each: data for each, data in files.items() if each != key}
        yield Mutation(f"{name}: without {key}", others, (key, PurePosixPath(key).name, stem))
        renamed = key.replace(PurePosixPath(key).name, f"renamed{PurePosixPath(key).suffix}")
        yield Mutation(f"{name}: {key} renamed", {**others, renamed: files[key]}, (key, renamed, "renamed", stem))
        # Without its last chunk alone a PNG still has all pixels.
        longest = 3 * len(files[key]) // 4 if key.endswith(".png") else len(files[key]) - 1
        at = int(random.integers(1, max(2, longest)))
        yield Mutation(f"{name}: {key} cut at {at}", {**files, key: files[key][:at]}, (key, PurePosixPath(key).name))
    for extra in _EXTRAS:
        if extra not in files:
            yield Mutation(f"{name}: with {extra}", {**files, extra: b"\0\1"}, (extra, PurePosixPath(extra).name))
    for key in sorted(files):
        if key.endswith(".json"):
            yield from _json_mutations(name, files, key, random)
        elif key.endswith("txt"):
            yield from _line_mutations(name, files, key, random)


def _json_mutations(name: str, files: Files, key: str, random: np.random.Generator) -> Iterator[Mutation]:
    """Unknown keys and wrong types, at the top, in a frame and in a camera."""
    for path, mapping in _mappings(json.loads(files[key])):
        for unknown in _NAMES:
            changed = json.loads(files[key])
            _at(changed, path)[unknown] = [1, "a", 0.5, {"x": 1}][int(random.integers(4))]
            yield Mutation(f"{name}: {key} {path} with {unknown}", _with(files, key, changed), (unknown,))
        for known in mapping:
            changed = json.loads(files[key])
            wrong = _WRONG[int(random.integers(len(_WRONG)))]
            if type(wrong) is type(mapping[known]) and not isinstance(wrong, list | dict):
                wrong = {"x": 1}
            _at(changed, path)[known] = wrong
            yield Mutation(f"{name}: {key} {path} {known} = {wrong!r}", _with(files, key, changed), (known, key))


def _mappings(data: Any) -> list[tuple[tuple[str | int, ...], dict[str, Any]]]:
    found: list[tuple[tuple[str | int, ...], dict[str, Any]]] = [((), data)]
    if data.get("frames"):
        found.append((("frames", 1), data["frames"][1]))
    found += [((each,), value) for each, value in data.items() if isinstance(value, dict)][:1]
    return found


def _at(data: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        data = data[part]
    return data


def _with(files: Files, key: str, data: Any) -> Files:
    return {**files, key: json.dumps(data).encode()}


def _line_mutations(name: str, files: Files, key: str, random: np.random.Generator) -> Iterator[Mutation]:
    """A word replaced by another, a word lost, all empty lines lost."""
    lines = files[key].decode().splitlines()
    filled = [number for number, line in enumerate(lines) if line.strip() and not line.startswith("#")]
    for change in ("word", "lost", "empty"):
        changed, number = list(lines), filled[int(random.integers(len(filled)))]
        words = changed[number].split()
        if change == "word":
            words[int(random.integers(min(7, len(words))))] = "x1"
            changed[number] = " ".join(words)
        elif change == "lost":
            del words[int(random.integers(1, min(7, len(words))))]
            changed[number] = " ".join(words)
        elif any(not line.strip() for line in lines):
            changed = [line for line in changed if line.strip()]
        else:
            continue
        files_now = {**files, key: ("\n".join(changed) + "\n").encode()}
        yield Mutation(f"{name}: {key} line {number + 1} {change}", files_now, (key, PurePosixPath(key).name))
