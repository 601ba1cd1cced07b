"""Workers are forks of a server that has imported their stage; whichever process is killed, none is left behind."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from scenewright.execution import process
from scenewright.execution.folders import ShardFolder
from scenewright.execution.process import StageProcess, WorkerServer
from scenewright.planning.plan import Plan
from scenewright.planning.tasks import RunSettings, task_of

PATIENCE = 240.0
ENDLESS = 3600.0
"""Only a signal ends a worker that sleeps for this long."""
HERE = Path(__file__).parent


class Scripted:
    """A server, and workers that follow a script."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]),
            "STUB_SCRIPT": str(folder / "script.json"),
            "STUB_LOG": str(folder / "log.jsonl"),
        }
        self.server = WorkerServer(self.environment)

    def start(self, step: str = "depth", **behaviour: Any) -> StageProcess:
        (self.folder / "script.json").write_text(json.dumps({"behaviours": {step: [behaviour]}}))
        shard = self.folder / "shard"
        shard.mkdir(exist_ok=True)
        task = task_of(self.plan, RunSettings(run="run-1", holder="me"), step)
        return StageProcess(self.server, task, 0, ShardFolder(shard), self.environment)

    def lines(self) -> list[dict[str, Any]]:
        log = self.folder / "log.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def worker(self) -> int:
        """Process number of the worker that began last, once it has begun."""
        await_true(lambda: bool(self.lines()))
        return int(self.lines()[-1]["pid"])


@pytest.fixture
def scripted(tmp_path: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    monkeypatch.setattr(process, "WORKER_MAIN", "stub_worker")
    scripted = Scripted(tmp_path, plan)
    with closing(scripted.server):
        yield scripted


def await_true(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def parent(number: int) -> int:
    return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])


def is_gone(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_worker_finds_its_stage_imported_and_has_a_session_and_variables_of_its_own(scripted: Scripted) -> None:
    with scripted.start(sleep=ENDLESS):
        worker = scripted.worker()
        assert scripted.lines()[-1]["loaded"]
        assert os.getsid(worker) == worker
        assert parent(parent(worker)) != os.getpid()


def test_how_a_worker_ends_is_reported_by_its_exit_code_or_signal(scripted: Scripted) -> None:
    for behaviour, code in (({"exit": 0}, 0), ({"exit": 30}, 30), ({"signal": 9}, -9)):
        with scripted.start(**behaviour) as worker:
            assert worker.code == code
            assert not worker.is_running()


def test_the_processor_time_of_workers_counts_as_the_commands(scripted: Scripted) -> None:
    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = spent()
    # The server does not import a stage for it: what counts is the worker's own.
    with scripted.start("publish", burn=3.0) as worker:
        assert worker.code == 0
    scripted.server.close()
    assert spent() - before >= 3.0


def test_a_server_that_was_killed_is_started_again_and_its_workers_run_on(scripted: Scripted) -> None:
    with scripted.start(sleep=ENDLESS) as first:
        server = parent(parent(scripted.worker()))
        os.kill(server, signal.SIGKILL)
        await_true(lambda: is_gone(server))
        with scripted.start("render") as second:
            assert second.code == 0
        assert first.is_running()
        first.signal(signal.SIGTERM)
        assert first.code == 143


def test_a_worker_of_which_nobody_can_tell_any_more_is_ended_before_it_counts_as_lost(scripted: Scripted) -> None:
    with scripted.start(sleep=ENDLESS, deaf=True) as lost:
        worker = scripted.worker()
        os.kill(parent(worker), signal.SIGKILL)
        assert lost.code == -signal.SIGKILL
        assert is_gone(worker)


def test_a_signal_sent_before_the_worker_exists_reaches_it(scripted: Scripted) -> None:
    with scripted.start(sleep=ENDLESS, deaf=True) as worker:
        worker.kill()
        assert worker.code == -signal.SIGKILL


def test_a_worker_that_cannot_be_imported_leaves_its_traceback_in_the_log(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "WORKER_MAIN", "no_such_worker")
    with scripted.start() as worker:
        assert worker.code == 1
    assert "No module named 'no_such_worker'" in (scripted.folder / "shard" / "log").read_text()


def test_a_python_that_cannot_start_ends_as_a_failed_worker(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "FORK_SERVER_MODULE", "no_such_server")
    with scripted.start() as worker:
        assert worker.code == 1
    assert "no_such_server" in (scripted.folder / "shard" / "log").read_text()
