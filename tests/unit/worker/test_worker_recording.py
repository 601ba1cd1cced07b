"""Records, marks, logs and locks in storage."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scenewright_stages.contract.errors import Abandoned, ConfigurationError
from scenewright_stages.contract.records import Record
from scenewright_stages.store import AccessRefused, BucketMissing, StoredObject, StoreError, StoreFull, StoreUnreachable
from scenewright_stages.store.local import LocalStore
from scenewright_stages.worker.evidence import parse_records, read_histories
from scenewright_stages.worker.process import logs
from scenewright_stages.worker.process.endings import ending_for
from scenewright_stages.worker.process.locking import OutputLock
from scenewright_stages.worker.process.logs import LogCapture
from scenewright_stages.worker.process.session import refused_at_start, store_fault
from scenewright_stages.worker.process.stopping import Stop
from scenewright_stages.worker.stage import recording
from scenewright_stages.worker.stage.recording import Recorder, Start


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "out")


@pytest.fixture
def recorder(store: LocalStore) -> Recorder:
    return Recorder(store, "double", "key", "run", 3, "pod-1")


def stored(store: LocalStore) -> dict[str, list[str]]:
    """States by sample, as a reader sees them now."""
    history = read_histories(store, ["double"])["double"]
    return {sample: [record.state for record in records] for sample, records in history.items()}


def done(sample: str) -> Record:
    return Record(sample, "double", "key", "done")


def test_a_start_is_stored_before_it_returns_and_an_end_later(store: LocalStore, recorder: Recorder) -> None:
    recorder.start(Start("a", 0))
    assert stored(store) == {"a": ["started"]}
    recorder.add(done("a"))
    recorder.flush_if_due()
    assert stored(store) == {"a": ["started"]}
    recorder.close()
    assert stored(store) == {"a": ["done"]}
    assert [entry.key for entry in store.list()] == [".scenewright/double/key/run-3-pod-1.jsonl"]


def test_marks_of_unflushed_samples_stay_until_their_records_are_stored(store: LocalStore, recorder: Recorder) -> None:
    recorder.start(Start("a", 0))
    recorder.leave_process("a")
    recorder.add(done("a"))
    recorder.start(Start("b", 0))
    assert stored(store) == {"a": ["started"], "b": ["started"]}
    recorder.flush()
    recorder.start(Start("c", 0))
    assert stored(store) == {"a": ["done"], "b": ["started"], "c": ["started"]}


def test_a_forgotten_start_leaves_nothing(store: LocalStore, recorder: Recorder) -> None:
    recorder.start(Start("a", 0))
    recorder.forget("a")
    recorder.close()
    assert stored(store) == {}


def test_due_records_are_flushed(store: LocalStore, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder.add(done("a"))
    monkeypatch.setattr(recording, "FLUSH_SECONDS", 0.0)
    recorder.flush_if_due()
    assert stored(store) == {"a": ["done"]}


def test_many_records_are_flushed_without_waiting(store: LocalStore, recorder: Recorder) -> None:
    for index in range(recording.FLUSH_RECORDS - 1):
        recorder.add(done(f"s{index}"))
    assert stored(store) == {}
    recorder.add(done("last"))
    assert len(stored(store)) == recording.FLUSH_RECORDS


def test_times_of_records_grow_even_where_the_clock_is_behind(store: LocalStore, recorder: Recorder) -> None:
    ahead = 4e9
    recorder.start(Start("a", ahead))
    recorder.add(done("a"), ahead)
    recorder.add(done("b"))
    recorder.close()
    history = read_histories(store, ["double"])["double"]
    assert ahead < history["a"][0].at < history["b"][0].at


def test_a_damaged_record_file_is_not_taken_for_an_empty_one() -> None:
    with pytest.raises(ValueError, match="damaged"):
        parse_records(b'{"sample": "a"')


def test_the_log_is_shown_and_stored_in_parts_as_it_grows(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logs, "PART_BYTES", 16)
    with capfd.disabled():
        shown = os.open(tmp_path / "shown", os.O_CREAT | os.O_WRONLY)
        saved = [os.dup(descriptor) for descriptor in (1, 2)]
        for descriptor in (1, 2):
            os.dup2(shown, descriptor)
        capture = LogCapture(tmp_path / "log")
        capture.store_to(store, "logs/step.log")
        os.write(1, b"from python ")
        capture.flush()
        first = {entry.key for entry in store.list()}
        os.write(2, b"and from compiled code")
        capture.flush()
        capture.close()
        for descriptor, original in zip((1, 2), saved, strict=True):
            os.dup2(original, descriptor)
        sys.stdout.flush()
    assert first == {"logs/step.log"}
    assert [entry.size for entry in store.list()] == [16, 16, 2]
    text = b"from python and from compiled code"
    assert b"".join(store.get_bytes(entry.key) for entry in store.list()) == text
    assert (tmp_path / "shown").read_bytes() == text


@pytest.mark.parametrize(
    ("urgent", "elapsed", "fraction", "abandoned"),
    [
        (False, 10.0, 0.9, False),
        (False, 10.0, 0.1, True),
        (False, 10.0, 0.0, True),
        (False, 0.1, 0.0, False),
        (False, 0.4, 0.01, False),
        (False, 1.4, 0.01, True),
        (True, 10.0, 0.99, True),
    ],
)
def test_a_running_sample_is_abandoned_when_it_cannot_end_in_time(
    urgent: bool, elapsed: float, fraction: float, abandoned: bool
) -> None:
    stop = Stop(grace_seconds=20.0)
    stop.check_running(elapsed, fraction)
    stop.request("test", urgent=urgent)
    if abandoned:
        with pytest.raises(Abandoned):
            stop.check_running(elapsed, fraction)
    else:
        stop.check_running(elapsed, fraction)


def test_a_fault_of_another_thread_ends_the_running_sample() -> None:
    stop = Stop(20.0)
    stop.fail(RuntimeError("first"))
    stop.fail(RuntimeError("second"))
    assert str(stop.fault) == "first"
    with pytest.raises(Abandoned):
        stop.check_running(0.0, 0.5)


@pytest.mark.parametrize("count", [16])
def test_racing_processes_of_one_holder_all_get_the_lock(store: LocalStore, count: int) -> None:
    locks = [OutputLock(store, "one job", os.getpid()) for _ in range(count)]
    with ThreadPoolExecutor(count) as pool:
        list(pool.map(OutputLock.acquire, locks))
    with pytest.raises(ConfigurationError, match="one job"):
        OutputLock(store, "another", os.getpid()).acquire()
    locks[0].release()
    OutputLock(store, "another", os.getpid()).acquire()


PERMANENT = (StoreFull("file:///x"), AccessRefused("s3://b", "no", "ask"), BucketMissing("s3://b"))
PASSING = (StoreUnreachable("s3://b", "no answer", "wait"), StoreError("s3://b", "Unheard: of", "read"))


@pytest.mark.parametrize("problem", [*PERMANENT, *PASSING], ids=lambda problem: type(problem).__name__)
@pytest.mark.parametrize("in_pod", [True, False])
def test_only_what_a_person_must_change_and_the_start_shows_ends_the_job(
    problem: StoreError, in_pod: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENEWRIGHT_STORAGE_PATIENCE", "300" if in_pod else "")
    at_start = ending_for(refused_at_start("spec.output.uri", problem)).code
    later = ending_for(store_fault(problem)).code
    if in_pod:
        assert (at_start, later) == (10 if problem in PERMANENT else 31, 31)
    else:
        assert (at_start, later) == (10, 10 if problem in PERMANENT else 31), "somebody waits at the terminal"


class OthersEnd(LocalStore):
    """Each time that it is listed, the process of another shard ends before the listing is read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.shards = 0

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        self.shards += 1
        other = Recorder(self, "double", "key", "run", self.shards, "other")
        other.start(Start(f"s{self.shards}", 0.0))
        other.add(Record(f"s{self.shards}", "double", "key", "done"))
        found = list(super().list(prefix))
        other.close()
        yield from found


def test_marks_that_go_while_records_are_read_are_no_fault(tmp_path: Path) -> None:
    """In a job of many shards some process ends at any moment, and slow storage is read for seconds."""
    own = Recorder(LocalStore(tmp_path), "double", "key", "run", 0, "own")
    own.start(Start("s0", 0.0))
    own.add(Record("s0", "double", "key", "done"))
    own.flush()
    history = read_histories(OthersEnd(tmp_path), ["double"])["double"]
    assert sorted(record.state for record in history["s0"]) == ["done", "started"], "what is still there is read"
