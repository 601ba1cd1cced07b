"""Pages of a manifest of any length: where its lines begin is remembered, its content is not."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from scenewright_stages.store.interface import Store
from scenewright_stages.store.looking import picture_of, psnr_of

BLOCK = 4 << 20
MOST_BYTES = 2 << 30
"""Of a manifest that is read through for a search."""
_SHOWN = ("id", "split", "class", "place", "source", "warnings", "reason")
_MOST_SEARCHES = 8


@dataclass
class Rows:
    """The lines of one version of a manifest.

    Args:
        store: where it is.
        key: of the manifest.
    """

    store: Store
    key: str
    _starts: array[int] = field(default_factory=lambda: array("Q"))
    _end: int = -1
    _searches: dict[bytes, array[int]] = field(default_factory=dict)

    def page(self, first: int, count: int, words: str = "") -> dict[str, Any]:
        """Rows from `first` on, and how many there are; with `words`, of those that contain all of them."""
        if self._end < 0:
            self._index()
        numbers = self._matching(words) if words.strip() else range(len(self._starts))
        chosen = numbers[first : first + count]
        return {"total": len(numbers), "rows": [_shown(self._line(number)) for number in chosen]}

    def _index(self) -> None:
        for start, _ in self._lines():
            self._starts.append(start)

    def _matching(self, words: str) -> array[int]:
        wanted = " ".join(words.lower().split()[:8]).encode()
        if wanted not in self._searches:
            parts = [json.dumps(part, ensure_ascii=False)[1:-1].encode() for part in wanted.decode().split()]
            lines = enumerate(self._lines())
            found = array("Q", (number for number, (_, line) in lines if all(part in line.lower() for part in parts)))
            self._searches[wanted] = found
            while len(self._searches) > _MOST_SEARCHES:
                del self._searches[next(iter(self._searches))]
        return self._searches[wanted]

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Start and content of every line that is not empty."""
        rest, start, position = b"", 0, 0
        while position < MOST_BYTES and (block := self.store.get_range(self.key, position, BLOCK)):
            position += len(block)
            *whole, rest = (rest + block).split(b"\n")
            for line in whole:
                if line:
                    yield start, line
                start += len(line) + 1
        if rest:
            yield start, rest
        self._end = position

    def _line(self, number: int) -> bytes:
        start = self._starts[number]
        end = self._starts[number + 1] if number + 1 < len(self._starts) else self._end
        return self.store.get_range(self.key, start, max(1, end - start))


def _shown(line: bytes) -> dict[str, Any]:
    """What a page shows of a row: its names, its picture and its files."""
    try:
        row = json.loads(line)
    except ValueError:
        return {"id": "unreadable line"}
    attributes = row.get("attributes")
    every = {**(attributes if isinstance(attributes, dict) else {}), **row}
    shown = {name: every[name] for name in _SHOWN if isinstance(every.get(name), str | int | float | list)}
    files = row.get("files")
    paths = [str(each.get("path", "")) for each in (files.values() if isinstance(files, dict) else ())]
    if isinstance(row.get("file_name"), str):
        paths.append(row["file_name"])
    return {**shown, "picture": picture_of(row), "psnr": psnr_of(row), "files": [path for path in paths if path][:16]}
