"""Injected faults that repetition mends: nothing is lost, made twice, stuck, or ended too early.

A short form runs with the other tests; ``make soak`` injects 1,000.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from simulated_cluster import Cluster, SimulatedJob
from simulated_operator import Operator

from scenewright.execution.jobs import CreateJob, job_name
from scenewright.reconcile.cache.observation import Answer, Inspection, ObservedPod
from scenewright.reconcile.decide import decide
from scenewright_stages.contract.errors import ExitCode

FAULTS = int(os.environ.get("SCENEWRIGHT_INJECTED_FAULTS", "160"))
KINDS = (
    "storage",
    "policy",
    "eviction",
    "sidecar",
    "node loss",
    "api error",
    "clock skew",
    "late news",
    "out of memory",
)
DENIED = 'admission webhook "lab.example" denied the request: label team is missing'
TICKS = 3000


@dataclass
class FaultyCluster(Cluster):
    """A cluster in which what is pending happens at the next opportunity."""

    pending: Counter[str] = field(default_factory=Counter)
    injected: Counter[str] = field(default_factory=Counter)
    lingering: dict[str, int] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)

    def take(self, kind: str) -> bool:
        if not self.pending[kind]:
            return False
        self.pending[kind] -= 1
        self.injected[kind] += 1
        return True

    def fate_of(self, step: str, index: int, attempt: int) -> int:
        """A shard fails at most twice, a CPU step once: as often as such faults are repeated."""
        if attempt < (2 if step in ("coarse", "depth", "outpaint", "initialize", "render") else 1):
            if self.take("storage"):
                return int(ExitCode.STORAGE_FAULT)
            if self.take("out of memory"):
                return 137
        return 0

    def _advance(self, job: SimulatedJob) -> None:
        own = [pod for pod in self.pods.values() if pod.job == job.seen.name]
        for pod in own:
            if pod.name in self.lingering:
                self.lingering[pod.name] -= 1
                if not self.lingering[pod.name]:
                    del self.lingering[pod.name]
                    self._keep(replace(pod, phase="Succeeded", still_running=""))
                    job.done.add(pod.index)
        kept = [pod.name for pod in own if pod.name in self.lingering]
        lost = [pod.name for pod in own if pod.name in self.lost]
        job.seen = replace(job.seen, terminating=len(lost))
        if kept or lost:
            job.seen = replace(job.seen, active=len(kept))
        else:
            super()._advance(job)

    def _end(self, job: SimulatedJob, pod: ObservedPod) -> None:
        if self.take("eviction"):
            self._keep(replace(pod, phase="Failed", exit_code=143, disrupted=True, finished_at=self.now))
        elif self.take("node loss"):
            self.lost.add(pod.name)
            self._keep(replace(pod, deleted_at=self.now + timedelta(seconds=30)))
        else:
            super()._end(job, pod)
            ended = self.pods[pod.name]
            if ended.phase == "Succeeded" and self.take("sidecar"):
                job.done.discard(pod.index)
                self.lingering[pod.name] = self.random.randint(1, 30)
                self._keep(replace(ended, phase="Running", still_running="istio-proxy"))


@dataclass
class FaultyOperator(Operator):
    """An operator whose requests fail, whose Jobs are refused and whose clock is wrong, one decision at a time."""

    skew: timedelta = timedelta()

    def turn(self) -> None:
        """Decides as often as there is something to do."""
        cluster = self.cluster
        assert isinstance(cluster, FaultyCluster)
        stop_after = cluster.random.randint(0, 2) if cluster.take("api error") else None
        cluster.news_delayed = cluster.take("late news")
        skew = timedelta(seconds=cluster.random.uniform(-90, 90)) if cluster.take("clock skew") else timedelta()
        for _ in range(12):
            decision = decide(cluster.observed(), self.settings, cluster.now + skew)
            for action in decision.actions[:stop_after]:
                if isinstance(action, CreateJob) and cluster.take("policy"):
                    owner = cluster.object
                    name = job_name(owner.kind, owner.name, owner.uid, cluster.work().work_hash, action.step)  # type: ignore[union-attr]
                    cluster.answers[Inspection("failed-creates", name)] = Answer(True, DENIED, cluster.now)
                    return
                self._carry_out(action)
            if stop_after is not None or not (self._write(decision) or decision.actions):
                break
        cluster.news_delayed = False


def live(seed: int, faults: int) -> tuple[FaultyOperator, FaultyCluster]:
    """One object's life with so many faults."""
    chance = random.Random(seed)
    cluster = FaultyCluster(samples=chance.choice([3, 9, 14]), random=chance)
    cluster.fate = cluster.fate_of
    cluster.truths |= {"node": (False, "the node is not ready"), "failed-creates": (False, "")}
    operator = FaultyOperator(cluster)
    moments = sorted(chance.randrange(32) for _ in range(faults))
    for tick in range(TICKS):
        while moments and moments[0] <= tick:
            moments.pop(0)
            cluster.pending[chance.choice(KINDS)] += 1
        operator.turn()
        cluster.lost &= set(cluster.pods)
        if operator.status.phase in ("Complete", "Failed"):
            return operator, cluster
        cluster.tick()
    raise AssertionError(f"seed {seed} is stuck: {operator.status}")


@pytest.fixture(scope="module")
def lives() -> list[tuple[FaultyOperator, FaultyCluster]]:
    found: list[tuple[FaultyOperator, FaultyCluster]] = []
    injected = 0
    while injected < FAULTS:
        found.append(live(len(found), 6))
        injected += sum(found[-1][1].injected.values())
    total = sum((cluster.injected for _, cluster in found), Counter[str]())
    print(f"{sum(total.values())} faults in {len(found)} objects: {dict(total)}")
    assert set(total) == set(KINDS)
    return found


def test_no_fault_that_passes_ends_an_object_or_loses_a_sample(
    lives: list[tuple[FaultyOperator, FaultyCluster]],
) -> None:
    for seed, (operator, cluster) in enumerate(lives):
        status, samples = operator.status, cluster.samples
        assert status.phase == "Complete", (seed, cluster.injected, status.conditions)
        assert status.progress == f"{5 * samples}/{5 * samples}" and not status.failures, seed
        assert set(cluster.storage.records.values()) == {"done"}, seed


def test_nothing_is_made_twice(lives: list[tuple[FaultyOperator, FaultyCluster]]) -> None:
    """The simulator refuses a Job that is there; a stage's Job comes again only in a pass that starts over."""
    for seed, (operator, cluster) in enumerate(lives):
        created = Counter(create.step for create in operator.created)
        status = operator.status
        again = cluster.injected["api error"] + status.passes - 1 + status.restarts
        assert all(count <= 1 + again for count in created.values()), (seed, created, cluster.injected)
        # A status that could not be written is decided again; the Event has the same name, which is refused then.
        assert len({event for event in operator.events if event.reason == "Complete"}) == 1, seed


def test_what_was_said_meanwhile_names_the_cause(lives: list[tuple[FaultyOperator, FaultyCluster]]) -> None:
    """By kind: a wait is never silent, and nobody is told of a failure that was none."""
    said: dict[str, set[str]] = {}
    for operator, _ in lives:
        for status in operator.statuses:
            for each in status.conditions:
                if each.status == "True" and each.type in ("Waiting", "Failed"):
                    said.setdefault(each.reason, set()).add(each.message)
    assert "Failed" not in {status.phase for operator, _ in lives for status in operator.statuses}
    assert said["PodsRefused"] == {DENIED}
    assert all("istio-proxy still runs" in message for message in said["SidecarRuns"])
    # A clock that is wrong by a minute and a half may miss Pods too early, which ends nothing.
    assert set(said) <= {"PodsRefused", "SidecarRuns", "PodsNotCreated"}, said
