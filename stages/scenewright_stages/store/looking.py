"""Finds objects below a root by what their runs left there, and reads what a page shows of each.

Every place with a ``.scenewright`` folder is an object. A look lists folders only, level by level, and returns the
objects that have changed since the last one. In an object store, where every check is a request, a look reads at most
`MOST_CHECKS` objects that it knows already.
"""

from __future__ import annotations

import json
import re
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
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


def find_objects(store: Store, most: int = MOST_LISTINGS) -> list[str]:
    """Prefixes of all objects, ``.`` for the root itself. Objects may lie in each other where a pipeline says so."""
    found: list[str] = []
    level, listings = [""], 0
    for _ in range(DEEPEST + 1):
        below: list[str] = []
        for prefix in level:
            if listings == most:
                return found
            listings += 1
            names = list(store.folders(prefix, most))
            if layout.ROOT in names:
                found.append(prefix.rstrip("/") or ".")
                names = [name for name in names if name in _hosts()]
            below += [f"{prefix}{name}/" for name in names if not name.startswith(".")]
        level = below
    return found


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
        """The names of all objects, and those that have changed."""
        names = find_objects(self.store)
        changed = []
        for name in self._due(names):
            state = self._state(name)
            if state != self._states.get(name):
                changed.append(read_object(self.store, name, self.is_local))
                self._states[name] = state
        self._states = {name: state for name, state in self._states.items() if name in set(names)}
        return {"names": names, "changed": changed}

    def _due(self, names: Sequence[str]) -> list[str]:
        if self.is_local:
            return list(names)
        known = [name for name in names if name in self._states]
        start = self._turn % max(1, len(known))
        self._turn += MOST_CHECKS
        return [*(set(names) - self._states.keys()), *(known[start:] + known[:start])[:MOST_CHECKS]]

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
