"""Finds objects below a root by what their runs left there, and reads what a page shows of each.

Every place with a ``.scenewright`` folder is an object. A look lists folders only, level by level, and returns the
objects that have changed since the last one. In an object store, where every check is a request, a look reads at most
`MOST_CHECKS` objects that it knows already.
"""

from __future__ import annotations

import json
import re
import socket
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from scenewright_stages.contract import layout
from scenewright_stages.pipelines import pipelines
from scenewright_stages.store.errors import ObjectMissing
from scenewright_stages.store.interface import Store

DEEPEST = 4
"""Folders between the root and an object."""
MOST_LISTINGS = 1000
"""Of one look at an object store; the next look goes on with what is not known yet."""
MOST_FOLDERS = 20_000
MOST_CHECKS = 40
MOST_FAILURES = 200
MOST_PICTURES = 12
_MANIFEST_HEAD = 400_000
_SUMMARY_BYTES = 16 << 20
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")
_BEST_PICTURES = ("contact_sheet", "output", "image", "outpaint", "held_out")
"""Outputs that show a sample best, in this order."""
_RUN = re.compile(rb'"run": ?"([^"\\]*)"')

Json = dict[str, Any]


@dataclass(frozen=True)
class Places:
    """Prefixes of objects, ``.`` for the root itself; `cut` if there are more than one look may list."""

    names: list[str]
    cut: bool = False


def find_objects(store: Store, most: int, known: Collection[str] = (), again: Collection[str] = ()) -> Places:
    """The objects below a root. Objects may lie in each other where a pipeline says so.

    Args:
        store: the root.
        most: listings, each one request of an object store.
        known: objects that need no listing to be recognised.
        again: known objects that are listed nevertheless, for what lies in them.
    """
    found: list[str] = []
    level, listings = [""], 0
    for _ in range(DEEPEST + 1):
        below: list[str] = []
        # What is new comes first: known objects are listed again with what is left of the limit.
        for prefix in sorted(level, key=lambda each: _name(each) in known):
            name = _name(prefix)
            if name in known and (name not in again or listings == most):
                found += [name, *(each for each in known if prefix and each.startswith(prefix))]
                continue
            if listings == most:
                # What lies beyond the limit is still there.
                return Places(list(dict.fromkeys([*found, *known])), cut=True)
            listings += 1
            names = list(store.folders(prefix, MOST_FOLDERS))
            if layout.ROOT in names:
                found.append(name)
                names = [each for each in names if each in _hosts()]
            below += [f"{prefix}{each}/" for each in names if not each.startswith(".")]
        level = below
    return Places(list(dict.fromkeys(found)))


def _name(prefix: str) -> str:
    return prefix.rstrip("/") or "."


@cache
def _hosts() -> frozenset[str]:
    return frozenset(host.rstrip("/") for each in pipelines().values() for host in each.hosts)


@dataclass
class Looker:
    """Remembers what it has reported of one root."""

    store: Store
    is_local: bool
    _states: dict[str, object] = field(default_factory=dict)
    _turn: int = 0

    def look(self) -> Json:
        """The names of all objects, those that have changed, and whether a limit has left out others."""
        due = self._due()
        if self.is_local:
            places = find_objects(self.store, sys.maxsize)
        else:
            places = find_objects(self.store, MOST_LISTINGS, self._states.keys(), due)
        changed = []
        for name in places.names:
            if not self.is_local and name in self._states and name not in due:
                continue
            state = self._state(name)
            if state != self._states.get(name):
                changed.append(read_object(self.store, name, self.is_local))
                self._states[name] = state
        kept = set(places.names)
        self._states = {name: state for name, state in self._states.items() if name in kept}
        return {"names": places.names, "changed": changed, "cut": places.cut}

    def _due(self) -> set[str]:
        """The known objects that this look checks, in turn."""
        known = list(self._states)
        start = self._turn % max(1, len(known))
        self._turn += MOST_CHECKS
        return set((known[start:] + known[:start])[:MOST_CHECKS])

    def _state(self, name: str) -> object:
        keys = (layout.PUBLISHED, layout.JOB, layout.LOCK) if self.is_local else (layout.PUBLISHED, layout.JOB)
        found = [self.store.head(below(name, key)) for key in keys]
        if self.is_local and found[-1]:
            # It runs: every look shows its progress.
            return time.monotonic()
        runs = self.store.folders(below(name, f"{layout.ROOT}/runs/")) if self.is_local else ()
        return tuple(each.etag if each else "" for each in found), tuple(runs[-1:])


def read_object(store: Store, name: str, is_local: bool) -> Json:
    """What is known of one object: its manifest, the reports of its last run, its summary and first pictures."""
    runs = store.folders(below(name, f"{layout.ROOT}/runs/"))
    published = _RUN.search(_head(store, below(name, layout.PUBLISHED), 4096))
    run = max(runs, default="")
    job = store.head(below(name, layout.JOB))
    ended = store.head(below(name, layout.PUBLISHED))
    running, live = _progress(store, name) if is_local else (False, [])
    held = _object(_head(store, below(name, layout.JOB), 1 << 20))
    return {
        "name": name,
        "job": {part: held[part] for part in ("apiVersion", "kind", "metadata", "spec") if part in held},
        "run": run,
        "published": published[1].decode() if published else "",
        "reports": dict(_reports(store, name, run)) if run else {},
        "summary": _summary(store, name) if published else {},
        "running": running,
        "live": live,
        "pictures": list(_pictures(store, name)) if published else [],
        "modified": max((each.modified for each in (job, ended) if each), default=0.0),
        "created": _began(min(runs, default="")),
    }


def below(name: str, key: str) -> str:
    """A key of an object as a key of the root."""
    return key if name == "." else f"{name}/{key}"


def _reports(store: Store, name: str, run: str) -> Iterator[tuple[str, Json]]:
    for found in store.list(below(name, f"{layout.ROOT}/runs/{run}/")):
        step = found.key.rpartition("/")[2]
        if step.endswith(".report.json"):
            yield step.removesuffix(".report.json"), _object(_head(store, found.key, 1 << 16))


def _summary(store: Store, name: str) -> Json:
    whole = _object(_head(store, below(name, layout.SUMMARY), _SUMMARY_BYTES))
    kept: Json = {key: whole[key] for key in ("name", "pipeline", "samples", "stages", "warnings") if key in whole}
    kept["failures"] = list(whole.get("failures") or ())[:MOST_FAILURES]
    used = {f"{each.get('capability', '')}/{each.get('backend', '')}" for each in whole.get("backends") or ()}
    kept["backends"] = sorted(used)
    kept["licences"] = sorted({each["licence"] for each in whole.get("backends") or () if each.get("licence")})
    return kept


def _progress(store: Store, name: str) -> tuple[bool, list[Json]]:
    """Whether a run holds the output, and the progress of its processes if they are on this machine."""
    lock = _object(_head(store, below(name, layout.LOCK), 1 << 16))
    if not lock or lock.get("expires", 0.0) < time.time():
        return False, []
    process = int(lock.get("process", 0))
    if lock.get("host") != socket.gethostname() or not process:
        return True, []
    if not Path(f"/proc/{process}").exists():
        return False, []
    files = Path(tempfile.gettempdir()).glob(f"scenewright-run-{process}-*/*/progress.json")
    found = []
    for file in files:
        try:
            found.append(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
    return True, found


def _pictures(store: Store, name: str) -> Iterator[Json]:
    lines = _head(store, below(name, layout.MANIFEST), _MANIFEST_HEAD).split(b"\n")[:-1]
    for line in islice(lines, MOST_PICTURES):
        row = _object(line)
        if key := picture_of(row):
            yield {"sample": str(row.get("id", "")), "key": key, "psnr": psnr_of(row)}


def picture_of(row: Mapping[str, Any]) -> str:
    """The path of the picture that shows a row of a manifest best; empty if it has none."""
    if isinstance(row.get("file_name"), str):
        return str(row["file_name"])
    files = row.get("files")
    named = files.items() if isinstance(files, dict) else ()
    shown = [(name.rpartition("/")[2], str(each.get("path", ""))) for name, each in named if isinstance(each, dict)]
    shown = [(output, path) for output, path in shown if path.lower().endswith(_PICTURES) and "{" not in path]
    rank = {output: number for number, output in enumerate(_BEST_PICTURES)}
    return min(shown, key=lambda each: rank.get(each[0], len(rank)), default=("", ""))[1]


def psnr_of(row: Mapping[str, Any]) -> float | None:
    """PSNR of a sample's held-out views, in dB; None if it was not measured."""
    node: Any = row
    for part in ("metrics", "render", "held_out", "psnr"):
        node = node.get(part) if isinstance(node, dict) else None
    return float(node) if isinstance(node, int | float) else None


def _head(store: Store, key: str, length: int) -> bytes:
    try:
        return store.get_range(key, 0, length)
    except ObjectMissing:
        return b""


def _object(data: bytes) -> Json:
    try:
        content = json.loads(data)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _began(run: str) -> float:
    """When a run began, from its id; 0 if the id does not say."""
    try:
        return datetime.strptime(run.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0
