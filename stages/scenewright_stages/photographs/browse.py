"""The browsable part of a data set's page: one card per image or pair, with what a trainer gets, filters and overlays.

A pipeline's reporter describes its samples as `Entry`; `browser` chooses, reads and packs them. The page's script
draws only the cards that are looked at, so thousands of them open and filter at once.
"""

from __future__ import annotations

import base64
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from scenewright_stages.contract import layout
from scenewright_stages.contract.stage import SampleOutcome
from scenewright_stages.vision.types import Mask, Uint8Array

MOST_PICTURES = 2000
"""Pictures in one page; of more, a choice is shown and the page says so."""

FACETS = ("State", "Split", "Class", "Source", "Augmentation")
"""Filters of every data set. A value that a pipeline does not know is left out."""

_READERS = 4
_SIDE, _SMALL_SIDE, _FEW_PICTURES = 256, 160, 400
_QUALITY = 78


@dataclass(frozen=True)
class Look:
    """A picture on a card, before it is read.

    Attributes:
        file: fetches it.
        words: what it is, such as "what the trainer gets".
        mask: fetches a mask of the same picture, drawn as an outline that can be switched off.
    """

    file: Callable[[], Path]
    words: str
    mask: Callable[[], Path] | None = None


@dataclass(frozen=True)
class Entry:
    """One card.

    Attributes:
        facets: value by filter, such as ``{"Split": "train"}``.
        looks: its pictures, the trainer's first; empty for a sample without a result.
        path: of the first picture below the output, linked by the card.
        facts: short texts.
    """

    title: str
    facets: Mapping[str, str]
    looks: tuple[Look, ...] = ()
    path: str = ""
    facts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Browser:
    """What the page's script needs, as plain JSON values.

    Attributes:
        facets: name and values of each filter, with the number of samples by value over the whole data set.
        cards: ``title``, ``facets`` (index of the value by filter, -1 for none), ``looks``, ``path``, ``facts``.
        total: samples of the data set; more than `cards` if a choice is shown.
        outlined: whether any card has an outline.
    """

    facets: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    cards: tuple[dict[str, Any], ...]
    total: int
    outlined: bool

    @property
    def most_looks(self) -> int:
        """Pictures of the card that has most."""
        return max(len(card["looks"]) for card in self.cards)


def metrics_of(outcome: SampleOutcome, stage: str) -> Mapping[str, Any]:
    """What a stage recorded of a sample; empty if it has not run."""
    record = outcome.records.get(stage)
    return {} if record is None else record.metrics


def entry(
    outcome: SampleOutcome,
    title: str,
    facets: Mapping[str, object],
    files: Iterable[tuple[str, str, str]],
    mask: tuple[str, str] | None = None,
    facts: tuple[str, ...] = (),
) -> Entry:
    """The card of a sample, as far as its stages have run.

    Args:
        facets: value by filter; None and empty values are left out.
        files: stage, output and words of its pictures, the trainer's first.
        mask: stage and output of the mask that is outlined on all of them.
    """
    found = [(stage, name, words) for stage, name, words in files if (stage, name) in outcome.files]
    outlined = outcome.files.get(mask) if mask is not None else None
    first = outcome.records[found[0][0]].outputs.get(found[0][1]) if found else None
    return Entry(
        title,
        {name: str(value) for name, value in facets.items() if value not in (None, "")},
        tuple(Look(outcome.files[stage, name], words, outlined) for stage, name, words in found),
        "" if first is None or first.path.startswith(layout.ROOT) else first.path,
        facts,
    )


def browser(entries: Iterable[Entry], most_pictures: int = MOST_PICTURES) -> Browser | None:
    """Chooses representative entries, reads their pictures and packs them; None without entries."""
    every = list(entries)
    if not every:
        return None
    chosen = list(_within(representative(every), most_pictures))
    pictures = sum(len(entry.looks) for entry in chosen)
    side = _SIDE if pictures <= _FEW_PICTURES else _SMALL_SIDE
    names = [*FACETS, *sorted({name for entry in every for name in entry.facets} - set(FACETS))]
    counts = {name: Counter(entry.facets[name] for entry in every if name in entry.facets) for name in names}
    facets = tuple((name, tuple(sorted(counts[name].items()))) for name in names if counts[name])
    places = {name: {value: place for place, (value, _) in enumerate(values)} for name, values in facets}
    with ThreadPoolExecutor(_READERS) as pool:
        looks = list(pool.map(lambda entry: [_packed(look, side) for look in entry.looks], chosen))
    cards = tuple(
        {
            "title": entry.title,
            "facets": [places[name].get(entry.facets.get(name, ""), -1) for name, _ in facets],
            "looks": packed,
            "path": entry.path,
            "facts": list(entry.facts),
        }
        for entry, packed in zip(chosen, looks, strict=True)
    )
    return Browser(facets, cards, len(every), any(look["outline"] for packed in looks for look in packed))


def representative(entries: Sequence[Entry]) -> list[Entry]:
    """All entries in an order whose every beginning shows as much variety as it can.

    Entries that share all their facets form a group; the groups take turns. Order follows from a hash of the names, so
    it neither repeats the first source a dozen times nor changes from run to run. What has no picture comes last.
    """
    groups: defaultdict[tuple[tuple[str, str], ...], list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: _shuffled(entry.title)):
        groups[tuple(sorted(entry.facets.items()))].append(entry)
    turns = [groups[key] for key in sorted(groups, key=lambda key: _shuffled(repr(key)))]
    mixed = [group[turn] for turn in range(max(map(len, turns), default=0)) for group in turns if turn < len(group)]
    return sorted(mixed, key=lambda entry: not entry.looks)


def outline(mask: Mask, width: int, height: int) -> str:
    """The borders of an (H, W) mask as an SVG path on a width x height canvas; empty for an empty mask."""
    small = cv2.resize(mask.astype(np.uint8) * 255, (width, height), interpolation=cv2.INTER_AREA)
    borders, _ = cv2.findContours((small >= 128).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    paths = []
    for border in borders:
        points = cv2.approxPolyDP(border, 0.6, closed=True).reshape(-1, 2)
        if len(points) > 2:
            paths.append("M" + "L".join(f"{x} {y}" for x, y in points) + "Z")
    return "".join(paths)


def _shuffled(name: str) -> bytes:
    return blake2b(name.encode(), digest_size=8).digest()


def _within(entries: Iterable[Entry], most_pictures: int) -> Iterator[Entry]:
    """Entries until their pictures are too many. One without pictures counts as one."""
    left = most_pictures
    for entry in entries:
        left -= max(len(entry.looks), 1)
        if left < 0:
            return
        yield entry


def _packed(look: Look, side: int) -> dict[str, Any]:
    small = _shrunk(_decoded(look.file(), cv2.IMREAD_COLOR), side)
    height, width = small.shape[:2]
    _, data = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    drawn = "" if look.mask is None else outline(_decoded(look.mask(), cv2.IMREAD_GRAYSCALE) >= 128, width, height)
    return {
        "jpeg": base64.b64encode(data.tobytes()).decode("ascii"),
        "width": width,
        "height": height,
        "words": look.words,
        "outline": drawn,
    }


def _decoded(path: Path, flags: int) -> Uint8Array:
    pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), flags)
    if pixels is None:
        raise OSError(f"could not read {path.name}")
    return np.asarray(pixels, np.uint8)


def _shrunk(pixels: Uint8Array, side: int) -> Uint8Array:
    scale = min(1.0, side / max(pixels.shape[:2]))
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
