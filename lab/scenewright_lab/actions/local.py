"""Runs objects on this machine: one ``scenewright run`` after the other, each a child process in the served folder.

What the page starts is what a person would type. Manifests, uploads and the output of the commands lie in
``.scenewright-lab`` of the folder, so nothing is lost when the page ends; running children are stopped then, and a
retry continues with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal
from urllib.parse import unquote

from scenewright.api.raw import Json
from scenewright.api.status import ACTIVE
from scenewright.cli.cluster.views import view_of
from scenewright.planning.documents import value_at
from scenewright_lab.actions.forms import as_yaml, name_of
from scenewright_lab.actions.interface import Actions, Offer, Question
from scenewright_lab.sources.interface import Entry, Log, Person, Refused
from scenewright_lab.sources.tree import TreeSource
from scenewright_stages.contract.layout import ROOT
from scenewright_stages.contract.reports import AWAITING

FOLDER = ".scenewright-lab"
LOG_BYTES = 24_000
MOST_WAITING = 50
Verb = Literal["run", "retry"]
COMMAND = (sys.executable, "-m", "scenewright.cli.main")


@dataclass
class Run:
    """One command: waiting until `process` is set, ended once `code` is."""

    id: str
    verb: Verb
    document: Json
    since: float
    process: asyncio.subprocess.Process | None = None
    code: int | None = None
    stopped: bool = False


class LocalActions(Actions):
    """The queue of runs in one folder.

    Args:
        root: the served folder.
        source: of the folder, which shows what waits.
    """

    def __init__(self, root: Path, source: TreeSource) -> None:
        self.root = root
        self._source = source
        self._runs: dict[str, Run] = {}
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._work())

    def folder(self) -> Path:
        """The folder for manifests, uploads and logs; creates it."""
        found = self.root / FOLDER
        found.mkdir(exist_ok=True)
        return found

    def manifest(self, name: str) -> Path:
        """Where the manifest of an object lies."""
        return self.root / FOLDER / f"{name.replace('/', '--')}.yaml"

    def command(self, verb: str, name: str, *more: str) -> str:
        """The command line of an action, for people."""
        shown = self.manifest(name).relative_to(self.root)
        return f"cd {shlex.quote(str(self.root))} && scenewright {shlex.join([verb, str(shown), *more])}"

    async def namespaces(self, person: Person) -> Sequence[str]:
        return ()

    async def place(self, person: Person, namespace: str, name: str) -> str:
        if (self.root / name).exists() or name in self._runs:
            raise Refused(f"There is a {name} already: choose another name.", 409)
        return (self.root / name).as_uri()

    async def store(self, person: Person, namespace: str, name: str, filename: str, content: BinaryIO) -> str:
        folder = self.folder() / "uploads" / name
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / safe_filename(filename)
        with target.open("wb") as file:
            await asyncio.to_thread(shutil.copyfileobj, content, file)
        return target.as_uri()

    async def start(self, person: Person, document: Json) -> str:
        name = self.id_of(document)
        if (self.root / name / ROOT).exists():
            raise Refused(f"{name} has results already: choose another name, or retry it.", 409)
        return self._queue(name, document, "run")

    def start_command(self, document: Json) -> str:
        return self.command("run", self.id_of(document))

    async def offers(self, person: Person, entry: Entry) -> Sequence[Offer]:
        if self.is_active(entry.id):
            return [Offer("stop", "Stop", "Ctrl-C in the terminal of the run; a retry continues where it stopped")]
        if entry.view.phase in ACTIVE or (entry.view.phase == "Complete" and not entry.has_failed):
            return []
        label = "Continue" if entry.suspended else "Retry what failed"
        return [Offer("retry", label, self.command("retry", entry.id))]

    async def do(self, person: Person, entry: Entry, verb: str) -> None:
        if verb == "stop":
            await self._stop(entry.id)
        elif verb == "retry":
            self._queue(entry.id, await self._document(entry), "retry")
        else:
            raise Refused(f"There is no action {verb}.", 404)

    async def questions(self, person: Person, entry: Entry) -> Sequence[Question]:
        if entry.view.reason != AWAITING or self.is_active(entry.id):
            return ()
        await self._written(entry)
        answer = await self._ask("pick", str(self.manifest(entry.id)))
        return [
            Question(each["sample"], each["text"], each["options"], _below(each["candidates"], entry.uri))
            for each in answer["questions"]
        ]

    async def pick(self, person: Person, entry: Entry, sample: str, choices: dict[str, str]) -> None:
        await self._written(entry)
        given = [f"{question}={option}" for question, option in choices.items()]
        await self._ask("pick", "--", str(self.manifest(entry.id)), sample, *given)
        self._queue(entry.id, await self._document(entry), "run")

    def pick_command(self, entry: Entry) -> str:
        return self.command("pick", entry.id)

    async def _document(self, entry: Entry) -> Json:
        """The manifest of the object's last run.

        Raises:
            Refused: its results were moved here from elsewhere, so that a run would write there.
        """
        run = self._runs.get(entry.id)
        document = run.document if run else await self._source.document(Person(), entry)
        if self.id_of(document) != entry.id:
            raise Refused("These results were moved here: a retry would write to where they came from.", 409)
        return document

    async def _written(self, entry: Entry) -> None:
        self.folder()
        self.manifest(entry.id).write_text(as_yaml(await self._document(entry)), encoding="utf-8")

    def _queue(self, name: str, document: Json, verb: Verb) -> str:
        if self.is_active(name):
            raise Refused(f"{name} runs or waits already.", 409)
        if sum(each.code is None for each in self._runs.values()) >= MOST_WAITING:
            raise Refused("Too many runs wait.", 429)
        self.folder()
        self.manifest(name).write_text(as_yaml(document), encoding="utf-8")
        self._log(name).unlink(missing_ok=True)
        self._runs.pop(name, None)
        self._runs[name] = Run(name, verb, document, time.time())
        self._show()
        self._wake.set()
        return name

    def id_of(self, document: Json) -> str:
        """The id of an object with this manifest: the folder of its results below the served one."""
        uri = value_at(document, "spec", "output", "uri")
        path = Path(unquote(str(uri or "").removeprefix("file://"))).resolve()
        if not name_of(document) or not path.is_relative_to(self.root.resolve()) or path == self.root.resolve():
            raise Refused(f"The output must be a folder below {self.root}, not {uri}.", 422)
        found = path.relative_to(self.root.resolve())
        if any(part.startswith(".") for part in found.parts):
            raise Refused("The output must not be in a hidden folder.", 422)
        return found.as_posix()

    async def _stop(self, name: str) -> None:
        """Ends a run as Ctrl-C would, or takes it out of the queue."""
        run = self._runs.get(name)
        if run is None or run.code is not None:
            raise Refused(f"{name} was not started on this page, or has ended.", 409)
        run.stopped = True
        if run.process is None:
            run.code = 130
        else:
            with contextlib.suppress(ProcessLookupError):
                run.process.send_signal(signal.SIGINT)
        self._show()

    def is_active(self, name: str) -> bool:
        """Whether a run that this page started waits or runs."""
        run = self._runs.get(name)
        return run is not None and run.code is None

    async def _ask(self, verb: str, *arguments: str) -> Json:
        """The JSON answer of a short command.

        Raises:
            Refused: the command refuses.
        """
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, verb, "-o", "json", *arguments),
            cwd=self.root,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, error = await process.communicate()
        try:
            answer: Json = json.loads(out)
        except ValueError:
            raise Refused(error.decode(errors="replace").strip()[-400:] or "the command failed", 422) from None
        if process.returncode:
            told = [f"{each.get('field', '')}: {each.get('remedy', '')}" for each in answer.get("problems", ())]
            raise Refused("; ".join(told) or "the command failed", 422)
        return answer

    def output_of(self, entry: Entry) -> Log | None:
        return self._output(entry.id)

    def _output(self, name: str) -> Log | None:
        """The end of what the command has printed."""
        try:
            data = self._log(name).read_bytes()[-LOG_BYTES:]
        except OSError:
            return None
        return Log(
            f"scenewright {self._runs[name].verb if name in self._runs else 'run'}", data.decode(errors="replace")
        )

    async def close(self) -> None:
        """Stops the running child and waits until it has ended."""
        self._task.cancel()
        for run in self._runs.values():
            if run.process is not None and run.process.returncode is None:
                run.process.send_signal(signal.SIGINT)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(20):
                        await run.process.wait()
                if run.process.returncode is None:
                    run.process.kill()

    async def _work(self) -> None:
        while True:
            run = next((each for each in self._runs.values() if each.code is None), None)
            if run is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            with self._log(run.id).open("wb") as log:
                run.process = await asyncio.create_subprocess_exec(
                    *(*COMMAND, run.verb, str(self.manifest(run.id))),
                    cwd=self.root,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=asyncio.subprocess.STDOUT,
                    start_new_session=True,
                )
            self._show()
            run.code = await run.process.wait()
            self._show()

    def _log(self, name: str) -> Path:
        return self.manifest(name).with_suffix(".log")

    def _show(self) -> None:
        """Tells the source of the objects that have left nothing yet."""
        waiting = [each for each in self._runs.values() if each.code is None]
        self._source.set_pending([self._entry(each, waiting) for each in self._runs.values()])

    def _entry(self, run: Run, waiting: Sequence[Run]) -> Entry:
        status = self._status(run, waiting)
        created = datetime.fromtimestamp(run.since, UTC).isoformat()
        metadata = {"name": name_of(run.document), "creationTimestamp": created, "generation": 1}
        raw = {**run.document, "metadata": metadata, "status": {"observedGeneration": 1, **status}}
        return Entry(run.id, view_of(raw, datetime.now(UTC)), modified=run.since, suspended=run.stopped)

    def _status(self, run: Run, waiting: Sequence[Run]) -> Json:
        if run.code is None and run.process is None:
            before = waiting.index(run)
            return _condition("Waiting", "Queued", f"{before} {'run' if before == 1 else 'runs'} before it")
        if run.code is None:
            return _condition("Indexing", "Starting", "starts, and reads the input")
        if run.stopped:
            return _condition("Suspended", "Stopped", "it was stopped before it had a result")
        log = self._output(run.id)
        lines = [line for line in (log.text if log else "").splitlines() if line.strip()]
        if run.code:
            return _condition("Failed", f"ExitCode{run.code}", " ".join(lines[-3:])[-600:])
        return _condition("Complete", "Complete", lines[-1] if lines else "")


def safe_filename(filename: str) -> str:
    """A name for an uploaded file: its letters, digits and dots, with its ending in lower case."""
    stem, dot, suffix = filename.replace("\\", "/").rpartition("/")[2].rpartition(".")
    clean = re.sub(r"[^A-Za-z0-9_-]+", "-", stem if dot else suffix).strip("-")[:60] or "upload"
    return f"{clean}.{re.sub('[^a-z0-9]', '', suffix.lower())[:8]}" if dot else clean


def _below(candidates: dict[str, str], uri: str) -> dict[str, str]:
    """Keys of the candidates below the results."""
    return {name: each.removeprefix(f"{uri}/") for name, each in candidates.items() if each.startswith(f"{uri}/")}


def _condition(phase: str, reason: str, message: str) -> Json:
    kind = phase if phase in ("Waiting", "Suspended", "Failed", "Complete") else "Progressing"
    return {"phase": phase, "conditions": [{"type": kind, "status": "True", "reason": reason, "message": message}]}
