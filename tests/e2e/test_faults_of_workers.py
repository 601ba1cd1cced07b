"""Real worker processes on a real S3 server: suspended in mid-sample, killed, and with storage that is slow or away."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from plugins import with_plugins
from slow_storage import SlowStorage
from toy_noting import Behaviour
from worker_faults import SAFE_SECONDS, Orders, ShardedJob, Worker, undisturbed

from cluster.storage import StorageServer
from scenewright_stages.worker.stage.uploading import BEHIND_SAMPLES

pytestmark = pytest.mark.slow

SEED = 41
MANY = int(os.environ.get("SCENEWRIGHT_FAULT_OBJECTS", "4")) >= 100
"""More than a hundred processes; else a quarter of it."""
SAMPLES = 400 if MANY else 100
SAMPLE_SECONDS = 0.4
SUSPENDED, TIMES_EACH = 27 if MANY else 7, 4
"""Shards that are suspended, and how often."""
SLOWED = 100 if MANY else 25
BEHIND = 10
ANSWER_SECONDS, AWAY_SECONDS = 0.5, 30.0
INTERRUPTED = 143
SEVERAL = with_plugins(toy="toy_noting:SEVERAL")
QUICK = Orders(Behaviour("", 0.02))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run that nobody disturbs leaves."""
    found = undisturbed(tmp_path_factory.mktemp("whole") / "job", SAMPLES, Behaviour(""))
    assert len(found) > 2 * SAMPLES
    return found


def lost_too_much(workers: Sequence[Worker]) -> list[Worker]:
    """Processes that have lost more than suspending one may cost, or that lost a sample that was made."""
    return [worker for worker in workers if len(worker.lost()) > 1 or worker.lost() & worker.samples("end")]


def lost_by(workers: Sequence[Worker]) -> Counter[str]:
    """How often each sample was lost."""
    return Counter(sample for worker in workers for sample in worker.lost())


def made_again(job: ShardedJob, fault: float) -> list[str]:
    """Samples with two `done` records although the first was stored long before the fault."""
    return [name for name, times in job.done().items() if times[1:] and times[0] < fault - SAFE_SECONDS]


def assert_whole(job: ShardedJob, whole: dict[str, bytes]) -> None:
    """Every sample is recorded as done and none as failed, outputs are what records say, and the tree is the same."""
    assert job.states().keys() <= {"done", "started"}
    assert {f"{sample}/picture.png" for sample in job.done()} == {name for name in whole if name.endswith(".png")}
    assert job.half_written() == []
    assert job.step("publish") == 0, job.console()[-3000:]
    assert job.results() == whole


def suspensions(draws: random.Random) -> list[Orders]:
    """How the processes of one shard work, and when each is suspended; the last one goes on to the end.

    Of ten processes six are in a sample that they can finish, two in one that takes longer than the grace period, one
    in such a one that does not look up either, and one in several.
    """
    orders = []
    for _ in range(TIMES_EACH):
        kind, begins = draws.randrange(10), draws.randint(1, 2)
        behaviour = Behaviour("", SAMPLE_SECONDS, begins if kind >= 7 else 0, deaf=kind == 9)
        environment = SEVERAL if kind == 6 else {"SCENEWRIGHT_GRACE_SECONDS": "3"} if kind == 9 else {}
        orders.append(Orders(behaviour, begins, draws.uniform(0.0, SAMPLE_SECONDS), environment=environment))
    return [*orders, QUICK]


@pytest.mark.soak
def test_suspended_processes_lose_at_most_one_sample_each(
    tmp_path: Path, s3_bucket: str, whole: dict[str, bytes]
) -> None:
    """Suspending a Job sends its Pods SIGTERM, and SIGKILL after their grace period."""
    print(f"seed {SEED}")
    draws = random.Random(SEED)
    job = ShardedJob(tmp_path / "job", f"s3://{s3_bucket}/suspended", SAMPLES, SUSPENDED)
    workers = job.work({shard: suspensions(draws) for shard in range(SUSPENDED)}, at_once=6, seconds=500.0)
    struck = [worker for worker in workers if worker.struck is not None]
    assert len(struck) >= SUSPENDED * TIMES_EACH - 3
    assert {worker.code for worker in struck} == {INTERRUPTED}
    assert {worker.code for worker in workers if worker.struck is None} == {0}
    counts = Counter(len(worker.lost()) for worker in struck)
    slowest = max(worker.leaving_seconds for worker in struck)
    print(f"{len(struck)} suspended; samples lost by how many: {dict(counts)}; gone within {slowest:.1f} s")
    assert lost_too_much(struck) == []
    assert counts[0] > counts[1] > 0, "both samples that could be finished and such that could not were hit"
    lost = lost_by(struck)
    assert job.begun() == Counter(job.done().keys()) + lost, "what was not lost was not done again"
    assert all(len(times) == 1 for times in job.done().values())
    assert job.states()["started"] == 0, "no sample is suspected of having taken its process down"
    assert_whole(job, whole)


def test_killed_processes_lose_more_and_the_check_tells(
    tmp_path: Path, s3_bucket: str, whole: dict[str, bytes]
) -> None:
    """The baseline that must lose: without any grace what was made in the last seconds is made again."""
    print(f"seed {SEED}")
    draws = random.Random(SEED)
    job = ShardedJob(tmp_path / "job", f"s3://{s3_bucket}/killed", SAMPLES, 4)
    orders = {
        shard: [Orders(Behaviour("", 0.05), draws.randint(6, 12), 0.02, signal.SIGKILL), QUICK] for shard in range(4)
    }
    workers = job.work(orders, at_once=4, seconds=300.0)
    killed = [worker for worker in workers if worker.struck is not None]
    assert [worker.code for worker in killed] == [-signal.SIGKILL] * 4
    print(f"lost by processes that were killed: {sorted(len(worker.lost()) for worker in killed)}")
    assert lost_too_much(killed)
    lost = lost_by(killed)
    assert job.begun() == Counter(job.done().keys()) + lost, "nothing that was stored was made again"
    assert made_again(job, min(worker.struck for worker in killed if worker.struck)) == []
    assert_whole(job, whole)


@dataclass
class Outage:
    """Storage is taken away for a while once so many samples have been begun.

    Attributes:
        began, ended: by the wall clock; 0 until then.
    """

    storage: SlowStorage
    job: ShardedJob
    begins: int
    began: float = 0.0
    ended: float = 0.0

    def tick(self) -> None:
        if not self.began and self.job.begun().total() >= self.begins:
            self.began = time.time()
            self.storage.take_away()
        if self.began and not self.ended and time.time() >= self.began + AWAY_SECONDS:
            self.storage.bring_back()
            self.ended = time.time()

    def hit(self, worker: Worker) -> bool:
        """Whether a process was at work when it began."""
        times = [note.at for note in worker.notes("begin") + worker.notes("end")]
        return bool(times) and min(times) < self.began < max(times)


@pytest.mark.soak
def test_processes_outlive_storage_that_is_slow_and_then_away(
    tmp_path: Path, s3_bucket: str, s3_server: StorageServer, whole: dict[str, bytes]
) -> None:
    """The baseline that must lose are processes without the patience that the operator gives them: each fifth."""
    with SlowStorage.before(s3_server.endpoint, ANSWER_SECONDS, 256 << 10) as storage:
        job = ShardedJob(tmp_path / "job", f"s3://{s3_bucket}/slow", SAMPLES, SLOWED, {"AWS_ENDPOINT_URL": storage.url})
        outage = Outage(storage, job, SAMPLES // 8)
        steady = Orders(Behaviour("", SAMPLE_SECONDS))
        hasty = replace(steady, environment={"SCENEWRIGHT_STORAGE_PATIENCE": "0"})
        orders = {shard: [hasty, steady] if shard % 5 == 0 else [steady] for shard in range(SLOWED)}
        began = time.monotonic()
        workers = job.work(orders, at_once=SLOWED // 2, seconds=450.0, tick=outage.tick)
        seconds = time.monotonic() - began
    codes = {
        patient: Counter(worker.code for worker in workers if (worker.orders is steady) is patient)
        for patient in (True, False)
    }
    lost = lost_by(workers)
    hit = sum(map(outage.hit, workers))
    print(f"{len(workers)} processes in {seconds:.0f} s; {hit} at work when the storage went away; exit codes {codes}")
    print(f"{storage.answers} answers delayed, {storage.cut} connections cut, {sum(lost.values())} samples made again")
    assert outage.ended and hit >= 5
    assert storage.cut >= 5 or not MANY, "of few processes hardly one has a connection open at any moment"
    assert codes[True].keys() == {0}, job.console()[-5000:]
    assert codes[False].keys() - {0}, "the outage was long enough to be noticed"
    assert made_again(job, outage.began) == []
    assert {name for worker in workers if worker.orders is steady for name in worker.lost()} == set()
    assert job.begun() == Counter(job.done().keys()) + lost
    assert_whole(job, whole)


@pytest.mark.soak
def test_slow_uploads_hold_the_work_back_and_neither_memory_nor_scratch_grow(
    tmp_path: Path, s3_bucket: str, s3_server: StorageServer
) -> None:
    """The baseline that must lose: what the samples made would be seen in the memory if it were held there."""
    count, side = 40, 700
    behaviour = Behaviour("", 0.0, side=side)
    whole = undisturbed(tmp_path / "whole", count, behaviour)
    with SlowStorage.before(s3_server.endpoint, 0.2, 1 << 19) as storage:
        job = ShardedJob(tmp_path / "job", f"s3://{s3_bucket}/large", count, 1, {"AWS_ENDPOINT_URL": storage.url})
        (worker,) = job.work({0: [Orders(behaviour)]}, at_once=1, seconds=300.0)
    begins = worker.notes("begin")
    waiting = [note.waiting for note in begins]
    settled = begins[2 * BEHIND_SAMPLES :]
    growth = max(note.resident for note in settled) - settled[0].resident
    print(f"at most {max(waiting)} samples waited; memory grew by {growth >> 20} MiB")
    assert worker.code == 0 and len(begins) == count
    assert max(waiting) == BEHIND_SAMPLES, "uploads were slow enough to be waited for"
    assert waiting.count(BEHIND_SAMPLES) > count / 2
    allowed = 12 << 20
    assert growth < allowed < len(settled) * side * side * 3 / 2
    assert_whole(job, whole)


def test_processes_suspended_with_uploads_on_their_way_store_them_within_the_grace(
    tmp_path: Path, s3_bucket: str, s3_server: StorageServer
) -> None:
    """The baseline that must lose is the last process, which has a tenth of the grace period."""
    print(f"seed {SEED}")
    draws = random.Random(SEED)
    behaviour = Behaviour("", 0.1, side=128)
    whole = undisturbed(tmp_path / "whole", 8 * BEHIND, behaviour)
    with SlowStorage.before(s3_server.endpoint, 0.3, 8 << 10) as storage:
        job = ShardedJob(tmp_path / "job", f"s3://{s3_bucket}/behind", 8 * BEHIND, BEHIND)
        slow = {"AWS_ENDPOINT_URL": storage.url}
        short = {**slow, "SCENEWRIGHT_GRACE_SECONDS": "3"}
        orders = {
            shard: [
                Orders(behaviour, draws.randint(4, 5), draws.uniform(0.0, 0.1), environment=each),
                Orders(behaviour),
            ]
            for shard, each in enumerate([slow] * (BEHIND - 1) + [short])
        }
        workers = job.work(orders, at_once=BEHIND, seconds=300.0)
    struck = [worker for worker in workers if worker.struck is not None]
    patient = [worker for worker in struck if worker.orders.environment == slow]
    slowest = max(worker.leaving_seconds for worker in patient)
    print(
        f"{len(patient)} suspended, gone within {slowest:.1f} s; samples lost: {[len(each.lost()) for each in struck]}"
    )
    assert len(struck) == BEHIND and {worker.code for worker in struck} == {INTERRUPTED}
    assert max(note.waiting for worker in struck for note in worker.notes("begin")) == BEHIND_SAMPLES
    assert lost_too_much(struck) == [worker for worker in struck if worker.orders.environment == short]
    assert_whole(job, whole)


def test_processes_suspended_while_storage_does_not_answer_are_gone_before_they_are_killed(
    tmp_path: Path, s3_bucket: str, s3_server: StorageServer
) -> None:
    """It takes connections and then nothing comes: nothing can be stored, but the exit code still says why."""
    whole = undisturbed(tmp_path / "whole", 40, Behaviour(""))
    with SlowStorage.before(s3_server.endpoint, 0.01, 1 << 20) as storage:
        job = ShardedJob(tmp_path / "job", f"s3://{s3_bucket}/hanging", 40, 2)
        hanging = {"AWS_ENDPOINT_URL": storage.url, "SCENEWRIGHT_GRACE_SECONDS": "5"}
        orders = [Orders(Behaviour("", SAMPLE_SECONDS), 3, 3.0, environment=hanging), QUICK]

        def hang() -> None:
            if len(job.workers) == 2 and all(len(worker.notes("begin")) >= 3 for worker in job.workers):
                storage.answer_seconds = 1000.0

        workers = job.work(dict.fromkeys(range(2), orders), at_once=2, seconds=300.0, tick=hang)
    struck = [worker for worker in workers if worker.struck is not None]
    print(f"gone after {[round(worker.leaving_seconds, 1) for worker in struck]} s")
    assert [worker.code for worker in struck] == [INTERRUPTED] * 2
    assert {worker.code for worker in workers if worker.struck is None} == {0}
    assert_whole(job, whole)
