"""The temporary folder of one run, with the progress, reports and logs of its processes."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scenewright.api.raw import Json
from scenewright.execution.published import read_json
from scenewright_stages.contract.reports import Report

_PREFIX = "scenewright-run-"


@dataclass(frozen=True)
class ShardFolder:
    """Progress, reports and log of one shard's processes, in an existing folder."""

    path: Path

    @property
    def progress_file(self) -> Path:
        """The progress file of the running process."""
        return self.path / "progress.json"

    @property
    def log_file(self) -> Path:
        """The processes' stdout and stderr; the worker also stores it with the results."""
        return self.path / "log"

    def progress(self) -> Json | None:
        """The latest progress of the running process; None before the first."""
        return read_json(self.progress_file) or None

    def log_tail(self, lines: int = 12) -> str:
        """The last lines of the log."""
        try:
            text = self.log_file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def report(self, step: str) -> Report | None:
        """The report of a step; None if it left none."""
        try:
            content: Json = json.loads((self.path / f"{step}.report.json").read_bytes())
        except FileNotFoundError:
            return None
        # Reports omit empty fields, and a process that could not read its task does not know its run.
        return Report.model_validate({"step": step, "run": "", **content})

    def plan(self) -> Json:
        """The plan that an index step with ``planOnly`` wrote."""
        content: Json = json.loads((self.path / "plan.json").read_text(encoding="utf-8"))
        return content

    def questions(self) -> list[Json]:
        """The open questions that a pick step listed."""
        content: list[Json] = json.loads((self.path / "questions.json").read_text(encoding="utf-8"))
        return content

    def clear(self) -> None:
        """Removes progress and reports of earlier processes."""
        for path in (self.progress_file, *self.path.glob("*.report.json")):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, with a folder per shard, named after the first step of its process."""

    path: Path

    def shard(self, step: str, shard: int = 0) -> ShardFolder:
        """The folder of a shard; creates it."""
        folder = self.path / f"{step}-{shard}"
        folder.mkdir(exist_ok=True)
        return ShardFolder(folder)


@contextmanager
def run_folder() -> Iterator[RunFolder]:
    """A folder for one run, removed afterwards. Also removes folders that killed runs left behind."""
    base = Path(tempfile.gettempdir())
    for stale in base.glob(f"{_PREFIX}*"):
        if not _is_alive(stale.name.removeprefix(_PREFIX).partition("-")[0]):
            shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", ignore_cleanup_errors=True) as name:
        yield RunFolder(Path(name))


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        pass
    return True
