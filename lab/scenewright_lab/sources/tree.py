"""Objects in a folder or below a prefix of an object store: every place with a ``.scenewright`` folder is one.

A loop asks the storage process for what has changed, every second in a folder and every ten in an object store. While
nobody looks at the page, it rests.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from scenewright.api.raw import Json, RawJson
from scenewright.cli.cluster.views import view_of
from scenewright_lab.sources import results
from scenewright_lab.sources.files import Files
from scenewright_lab.sources.interface import Entry, Log, NotFound, Person, Picture, Source, Unavailable
from scenewright_stages.contract import layout

LOG_BYTES = 24_000
MOST_LOGS = 12
_RESTS_AFTER = 120.0


class TreeSource(Source):
    """The objects below a root.

    Args:
        uri: of the root: ``file:///…`` or ``s3://…``.
        title: of the root, for people.
        files: the storage process.
    """

    def __init__(self, uri: str, title: str, files: Files) -> None:
        super().__init__()
        self.uri = uri.rstrip("/")
        self.title = title
        self._files = files
        self._pause = 1.0 if uri.startswith("file://") else 10.0
        self._entries: dict[str, Entry] = {}
        self._jobs: dict[str, Json] = {}
        self._pending: dict[str, Entry] = {}
        self._asked = time.monotonic()
        self._fresh = True
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self._look()
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def entries(self, person: Person) -> Sequence[Entry]:
        self._asked = time.monotonic()
        return sorted({**self._pending, **self._entries}.values(), key=lambda each: -each.modified)

    async def entry(self, person: Person, name: str) -> Entry:
        self._asked = time.monotonic()
        found = self._entries.get(name) or self._pending.get(name)
        if found is None:
            raise NotFound(name)
        return found

    async def document(self, person: Person, entry: Entry) -> Json:
        found = self._jobs.get(entry.id)
        if not found:
            raise NotFound(entry.id)
        return found

    async def logs(self, person: Person, entry: Entry) -> list[Log]:
        return await stored_logs(self._files, entry) if entry.id in self._entries else []

    def set_pending(self, entries: Sequence[Entry]) -> None:
        """Objects that were started here and have left nothing to read yet."""
        self._pending = {each.id: each for each in entries}
        self.note_change()

    async def wait(self, known: int, seconds: float) -> int:
        self._asked = time.monotonic()
        return await super().wait(known, seconds)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._pause)
            if time.monotonic() - self._asked < _RESTS_AFTER:
                await self._look()

    async def _look(self) -> None:
        before = self.problem
        try:
            _, content = await self._files.ask("look", uri=self.uri, fresh=self._fresh)
            found = json.loads(content)
            changed, self._fresh = self._take(found), False
            self.problem = f"{len(found['names'])} objects so far: the list is being read." if found["cut"] else ""
        except (Unavailable, NotFound) as error:
            # After an outage everything is read once more.
            changed, self.problem, self._fresh = False, f"{self.title} cannot be read at the moment: {error}", True
        if changed or before != self.problem:
            self.note_change()

    def _take(self, found: RawJson) -> bool:
        """Takes over what a look found; whether anything differs."""
        names = set(found["names"])
        kept = {name: each for name, each in self._entries.items() if name in names}
        fresh = {each["name"]: self._entry(each) for each in found["changed"]}
        self._jobs = {name: job for name, job in self._jobs.items() if name in names}
        self._jobs |= {each["name"]: each["job"] for each in found["changed"]}
        changed = len(kept) < len(self._entries) or any(kept.get(name) != each for name, each in fresh.items())
        self._entries = {**kept, **fresh}
        return changed

    def _entry(self, found: RawJson) -> Entry:
        name = found["name"]
        title = Path(self.uri).name if name == "." else Path(name).name
        raw = results.raw_object(results.Found.from_json(found, title))
        # Ages are counted from the last change, so that an entry stays equal while nothing happens.
        view = view_of(raw, datetime.fromtimestamp(found["modified"], UTC))
        seconds = {each["name"]: each["seconds"] for each in raw["status"]["stages"] if each["seconds"]}
        stages = tuple(replace(each, seconds=seconds.get(each.name, each.seconds)) for each in view.stages)
        done = [(found["modified"], each.done, sum(one.gpu_seconds for one in stages)) for each in stages[-1:]]
        return Entry(
            id=name,
            view=replace(view, stages=stages, namespace=str(Path(name).parent) if "/" in name else ""),
            uri=self.uri if name == "." else f"{self.uri}/{name}",
            licences=tuple(found["summary"].get("licences") or ()),
            backends=tuple(found["summary"].get("backends") or ()),
            pictures=tuple(Picture(**each) for each in found["pictures"]),
            ended=tuple(done) if view.ended else (),
            suspended=view.phase == "Suspended",
            modified=found["modified"],
            doing=tuple(each["doing"] for each in raw["status"]["stages"] if each["doing"]),
        )


async def stored_logs(files: Files, entry: Entry) -> list[Log]:
    """The ends of the logs that the last run stored beside its results."""
    if not (entry.view.run and entry.uri):
        return []
    folder = layout.log_file(entry.view.run, "x", 0, "x").rpartition("/")[0]
    answer, _ = await files.ask("names", uri=entry.uri, key=folder, most=1000)
    found = []
    for name in [each for each in answer["names"] if each.endswith(".log")][-MOST_LOGS:]:
        key = f"{folder}/{name}"
        start = max(0, (await files.head(entry.uri, key)).size - LOG_BYTES)
        text = (await files.read(entry.uri, key, start, LOG_BYTES)).decode(errors="replace")
        found.append(Log(name.removesuffix(".log"), text))
    return found
