"""Faults that only a real node has, in mid-run: nothing is lost, and nothing that was stored is made again."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pod_faults import delete_pod, evict_pod, kill_the_operator, kill_worker, working_pods
from portraits import write_portraits
from summaries import untimed
from trials import Trial, environment_of_pods

from cluster import trial
from cluster.node import Node
from cluster.whole_cluster import WholeCluster
from scenewright_stages.contract import layout
from scenewright_stages.contract.records import Record

pytestmark = pytest.mark.slow

SEED = 20
NAME = "battered"
STAGES = ("segment", "albedo", "degrade", "recombine")
COUNT, SHARD, SIDE = 288, 48, 1024
SMALL = {"requests": {"cpu": "400m"}, "limits": {"cpu": "500m"}}
"""On a machine that has nothing else to do a Pod of a few small images would be gone before a fault meets it."""
ENDS_WITHIN = 1200.0
AWAY_SECONDS = 30.0
SUSPENDED_SECONDS = 10.0
SAFE_SECONDS = 5.0
"""A record that was made so long before a fault is stored: the work is not done again."""


@dataclass(frozen=True)
class Suspended:
    """What was there between the moment at which the object was known to be suspended and the one at which it went on.

    Attributes:
        since, until: seconds since the epoch.
        working: Pods of its stages that worked nevertheless.
        done: every record of the time before, as :meth:`Battered.done` has them.
    """

    since: float
    until: float
    working: list[str]
    done: Mapping[tuple[str, str, str], list[float]]


@dataclass(frozen=True)
class Battered(Trial):
    """One DatasetJob on a cluster, what was done to it, and every record that its Pods have ever stored."""

    node: Node
    faults: list[tuple[str, float]] = field(default_factory=list)
    records: dict[str, bytes] = field(default_factory=dict)
    suspended: list[Suspended] = field(default_factory=list)

    def storage_answers(self) -> bool:
        with contextlib.suppress(Exception):
            return bool(self.storage.client().list_buckets()["Buckets"])
        return False

    def follow(self, over: threading.Event) -> None:
        """Keeps the longest version of every record file, for publish merges them."""
        while not over.wait(1.0):
            # The storage is one of the things that are taken away.
            with contextlib.suppress(Exception):
                self.look_at_records()

    def look_at_records(self) -> None:
        client = self.storage.client()
        for stage in STAGES:
            listing = client.list_objects_v2(Bucket=trial.SCENES, Prefix=f"{NAME}/{layout.ROOT}/{stage}/")
            for entry in listing.get("Contents", []):
                if len(self.records.get(entry["Key"], b"")) < entry["Size"]:
                    found = client.get_object(Bucket=trial.SCENES, Key=entry["Key"])
                    self.records[entry["Key"]] = found["Body"].read()

    def done(self) -> dict[tuple[str, str, str], list[float]]:
        """When each (stage, key, sample) was recorded as done, over all attempts; seconds since the epoch."""
        found: dict[tuple[str, str, str], dict[str, float]] = {}
        for content in self.records.values():
            for record in map(Record.from_line, filter(None, content.decode().split("\n"))):
                if record.state == "done":
                    name = (record.stage, record.key, record.sample)
                    found.setdefault(name, {})[f"{record.attempt} {record.at}"] = record.at
        return {name: sorted(times.values()) for name, times in found.items()}


def take_storage_away(battered: Battered, _pod: str) -> bool:
    component = battered.storage.component
    assert component is not None
    component.kill()
    time.sleep(AWAY_SECONDS)
    component.start()
    component.wait_until(battered.storage_answers, 60.0)
    return True


def stop_the_kubelet(battered: Battered, pod: str) -> bool:
    """The node seems to live when the Pod is deleted, and comes back after a while."""
    battered.node.kubelet.stop()
    try:
        hit = delete_pod(battered, pod)
        time.sleep(8.0)
    finally:
        battered.node.restart_kubelet()
    return hit


def suspend_and_resume(battered: Battered, _pod: str) -> bool:
    """As whoever needs the GPUs for an hour does."""
    _order(battered, suspend=True)
    # The phase says so from the order on, the condition when the last Pod is gone.
    battered.kubectl("wait", "--for=condition=Suspended", f"datasetjob/{NAME}", "--timeout=120s")
    battered.look_at_records()
    since, done = time.time(), battered.done()
    time.sleep(SUSPENDED_SECONDS)
    battered.suspended.append(Suspended(since, time.time(), working_pods(battered, NAME, STAGES), done))
    _order(battered, suspend=False)
    return True


def _order(battered: Battered, suspend: bool) -> None:
    battered.kubectl("patch", "datasetjob", NAME, "--type=merge", "-p", json.dumps({"spec": {"suspend": suspend}}))


FAULTS: tuple[Callable[[Battered, str], bool], ...] = (
    delete_pod,
    evict_pod,
    kill_worker,
    take_storage_away,
    stop_the_kubelet,
    kill_the_operator,
    suspend_and_resume,
)


def job() -> dict[str, Any]:
    overrides = {stage: {"resources": SMALL} for stage in STAGES}
    return {
        "apiVersion": "scenewright.io/v1alpha1",
        "kind": "DatasetJob",
        "metadata": {"name": NAME, "namespace": trial.NAMESPACE},
        "spec": {
            "input": {"uri": f"s3://{trial.PHOTOS}/{NAME}"},
            "output": {"uri": f"s3://{trial.SCENES}/{NAME}"},
            "storage": {"secretName": trial.SECRET},
            "relight": {"segmentation": {"backend": "mask"}},
            "execution": {"samplesPerShard": SHARD, "maxParallelism": 2, "stageOverrides": overrides},
        },
    }


@pytest.fixture(scope="module")
def portraits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("battered") / "in"
    write_portraits(folder, COUNT, side=SIDE)
    return folder


@pytest.fixture(scope="module")
def battered(cluster_with_operator: WholeCluster, portraits: Path) -> Iterator[Battered]:
    """The object has come to its end through all faults."""
    whole = cluster_with_operator
    trial.begin(whole.target, whole.storage)
    found = Battered(whole.target, whole.storage, trial.NAMESPACE, "datasetjob", whole.node)
    client = whole.storage.client()
    for path in portraits.iterdir():
        client.upload_file(str(path), trial.PHOTOS, f"{NAME}/{path.name}")
    found.apply(job())
    over = threading.Event()
    follower = threading.Thread(target=found.follow, args=(over,), daemon=True)
    follower.start()
    try:
        _batter(found)
        _wait_ended(found)
        yield found
    finally:
        over.set()
        follower.join()
        found.kubectl("delete", "datasetjob", NAME, "--wait=true")


def _batter(battered: Battered) -> None:
    """Every fault once, in the order of the seed, each while a Pod works."""
    print(f"seed {SEED}")
    for fault in random.Random(SEED).sample(FAULTS, len(FAULTS)):
        deadline = time.monotonic() + 300.0
        while not _strikes(battered, fault):
            assert time.monotonic() < deadline, f"nothing works before {fault.__name__}: {battered.status(NAME)}"
            assert battered.status(NAME).get("phase") not in ("Complete", "Failed"), f"over before {fault.__name__}"
            time.sleep(0.5)


def _strikes(battered: Battered, fault: Callable[[Battered, str], bool]) -> bool:
    """Whether there was a Pod that the fault could meet, and it did."""
    pod = next(iter(working_pods(battered, NAME, STAGES, seconds=6.0)), "")
    if not pod:
        return False
    print(f"{datetime.now(UTC):%H:%M:%S} {fault.__name__} {pod}")
    began = time.time()
    hit = fault(battered, pod)
    if hit:
        battered.faults.append((fault.__name__, began))
    return hit


def _wait_ended(battered: Battered) -> None:
    deadline = time.monotonic() + ENDS_WITHIN
    while battered.status(NAME).get("phase") not in ("Complete", "Failed"):
        assert time.monotonic() < deadline, battered.described()
        time.sleep(2.0)


def test_the_object_completes_though_everything_was_taken_from_it(battered: Battered) -> None:
    status = battered.status(NAME)
    assert status["phase"] == "Complete", json.dumps(status, indent=1)
    assert len(battered.faults) == len(FAULTS)
    assert status["progress"] == f"{4 * COUNT}/{4 * COUNT}"


def test_no_step_had_two_jobs_of_one_run_and_pass(battered: Battered) -> None:
    names = [job["metadata"]["name"] for job in battered.listed("jobs", NAME)]
    assert len(names) == len(set(names)) >= len(STAGES)


def test_what_was_stored_five_seconds_before_a_fault_was_not_made_again(battered: Battered) -> None:
    done = battered.done()
    assert len(done) == 4 * COUNT, "the records of every sample of every stage were seen"
    begins = [begin for _, begin in battered.faults]
    for name, times in done.items():
        for first, second in pairwise(times):
            before_second = [begin for begin in begins if begin <= second]
            assert before_second, f"{name} was made twice without any fault"
            assert any(first > begin - SAFE_SECONDS for begin in before_second), f"{name}: {first}, {second}"


def test_a_suspended_object_rested_and_what_it_had_stored_was_not_made_again(battered: Battered) -> None:
    (rest,) = battered.suspended
    assert not rest.working
    end = battered.done()
    assert not [name for name, times in end.items() if any(rest.since < at < rest.until for at in times)]
    assert rest.done, "it was suspended in mid-run"
    again = [name for name, times in rest.done.items() if len(end[name]) > len(times)]
    assert not again


def test_the_results_are_those_of_an_undisturbed_run(battered: Battered, portraits: Path) -> None:
    manifest = job()
    manifest["spec"] |= {"input": {"uri": str(portraits)}, "output": {"uri": str(portraits.parent / "out")}}
    path = portraits.parent / "job.json"
    path.write_text(json.dumps(manifest))
    command = [sys.executable, "-m", "scenewright.cli.main", "run", str(path)]
    environment = environment_of_pods(battered.storage, threads=1)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    local = json.loads((portraits.parent / "out" / layout.PUBLISHED).read_text())["files"]
    client = battered.storage.client()
    answer = client.get_object(Bucket=trial.SCENES, Key=f"{NAME}/{layout.PUBLISHED}")
    there = json.loads(answer["Body"].read())["files"]
    timed = {"report.html", layout.SUMMARY}
    assert there.keys() == local.keys()
    assert {name: entry for name, entry in there.items() if name not in timed} == {
        name: entry for name, entry in local.items() if name not in timed
    }
    summary = client.get_object(Bucket=trial.SCENES, Key=f"{NAME}/{layout.SUMMARY}")["Body"].read()
    assert untimed(summary) == untimed((portraits.parent / "out" / layout.SUMMARY).read_bytes())
