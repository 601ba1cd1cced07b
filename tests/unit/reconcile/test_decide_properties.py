"""Properties that hold whatever fails and whenever the operator dies, over seeded random histories.

A few run with the other tests; ``make soak`` runs 500 for each property.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated_cluster import Cluster, Fate, spec_of
from simulated_operator import Operator

from scenewright.api.status import StageStatus, Status
from scenewright.execution.jobs import CreateJob
from scenewright.reconcile.decide import DecideSettings, decide
from scenewright.reconcile.decide.actions import DeleteJob, EmitEvent
from scenewright.reconcile.decide.decision import MAXIMUM_STATUS_BYTES, size_of

pytestmark = pytest.mark.slow
HISTORIES = int(os.environ.get("SCENEWRIGHT_HISTORIES", "30"))
TICKS = 1500
FAULTS = (
    "operator dies before acting",
    "operator dies in mid-action",
    "operator dies before writing",
    "operator is away",
    "job deleted",
    "job vanishes with its pods",
    "finished pods deleted",
    "news delayed",
    "edited",
    "retried",
    "suspended and resumed",
    "parallelism",
    "output locked by somebody else",
)


@dataclass(frozen=True)
class History:
    """What goes wrong: when which fault happens, and how often Pods fail."""

    seed: int
    faults: tuple[tuple[int, str], ...]
    failure_rate: float
    bad_samples: frozenset[int]
    samples: int
    folds: bool


histories = st.builds(
    History,
    seed=st.integers(0, 2**32),
    faults=st.lists(st.tuples(st.integers(0, 45), st.sampled_from(FAULTS)), max_size=12).map(tuple),
    failure_rate=st.sampled_from([0.0, 0.1, 0.4]),
    bad_samples=st.frozensets(st.integers(0, 5), max_size=3),
    samples=st.integers(1, 18),
    folds=st.booleans(),
)
over_histories = settings(
    max_examples=HISTORIES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


class World:
    """A cluster and its operator living through a history; checks what must hold at every moment."""

    def __init__(self, history: History, decides_twice: bool = False) -> None:
        self.history = history
        self.random = random.Random(history.seed)
        spec = spec_of()
        if history.folds:
            spec = spec_of(input={"uri": "s3://photos/one.jpg"}, execution={"samplesPerShard": 4})
        samples = 1 if history.folds else history.samples
        self.cluster = Cluster(
            spec=spec, samples=samples, fate=self._fate(), random=self.random, bad_samples=history.bad_samples
        )
        self.operator = Operator(self.cluster, decides_twice=decides_twice)
        self.tick = 0
        self.away_until = 0

    def live(self) -> Status:
        """Until the work has ended and nothing more will happen."""
        last_fault = max((tick for tick, _ in self.history.faults), default=0)
        for self.tick in range(TICKS):
            stop_after = self._suffer()
            if self.tick >= self.away_until:
                before = self.operator.status
                self.operator.settle(stop_after)
                self.check(before)
            self.cluster.news_delayed = False
            if self.tick > last_fault + 1 and self.operator.status.phase in ("Complete", "Failed"):
                return self.operator.status
            self.cluster.tick()
        raise AssertionError(f"did not end: {self.operator.status}")

    def check(self, before: Status) -> None:
        """What must hold after each decision."""
        status = self.operator.status
        assert size_of(status) <= MAXIMUM_STATUS_BYTES
        same_pass = (status.run, status.passes, status.restarts, status.clearing) == (
            before.run,
            before.passes,
            before.restarts,
            before.clearing,
        )
        if same_pass and status.phase not in ("Suspended", "Complete", "Failed"):
            assert_not_fallen(before.stages, status.stages)
        runs = {job.seen.run for job in self.cluster.jobs.values() if not job.seen.deleting}
        assert len(runs) <= 1, f"Jobs of several runs: {runs}"

    def _fate(self) -> Fate:
        rate = self.history.failure_rate

        def fate(step: str, index: int, attempt: int) -> int:
            fails = self.random.random() < (rate / 4 if step in ("index", "publish") else rate)
            return self.random.choice([1, 21, 30, 137, 143]) if fails else 0

        return fate

    def _suffer(self) -> int | None:
        """Lets the faults of this tick happen; after how many actions the operator dies, None when it lives."""
        stop_after = None
        for tick, fault in self.history.faults:
            if tick != self.tick:
                continue
            stop_after = self._happen(fault) if stop_after is None else stop_after
        return stop_after

    def _happen(self, fault: str) -> int | None:
        cluster = self.cluster
        if fault == "operator is away":
            self.away_until = self.tick + self.random.randint(2, 20)
        elif fault == "job deleted" and cluster.jobs:
            cluster.delete_job(self.random.choice(sorted(cluster.jobs)))
        elif fault == "job vanishes with its pods" and cluster.jobs:
            name = self.random.choice(sorted(cluster.jobs))
            del cluster.jobs[name]
            cluster.pods = {key: pod for key, pod in cluster.pods.items() if pod.job != name}
        elif fault == "finished pods deleted":
            cluster.pods = {name: pod for name, pod in cluster.pods.items() if pod.exit_code is None}
        elif fault == "news delayed":
            cluster.news_delayed = True
        elif fault == "edited":
            cluster.edit_execution(seed=self.tick + 1)
        elif fault == "retried":
            cluster.annotations["scenewright.io/retry"] = f"token-{self.tick}"
        elif fault == "suspended and resumed":
            cluster.edit(suspend=True)
            self.operator.settle()
            for _ in range(self.random.randint(0, 6)):
                cluster.tick()
                self.operator.settle()
            cluster.edit(suspend=False)
        elif fault == "output locked by somebody else":
            cluster.lock_ends = cluster.now + timedelta(seconds=self.random.randint(1, 300))
        elif fault == "parallelism":
            cluster.edit_execution(maxParallelism=self.random.randint(1, 5))
        deaths = {
            "operator dies before acting": 0,
            "operator dies in mid-action": 1,
            "operator dies before writing": 99,
        }
        return deaths.get(fault)


def assert_not_fallen(before: Iterable[StageStatus], after: Iterable[StageStatus]) -> None:
    """Counts and states of a pass never go back."""
    order = ("Pending", "Waiting", "Running", "Done")
    later = {stage.name: stage for stage in after}
    for stage in before:
        now = later[stage.name]
        assert now.samples.done + now.samples.failed + now.samples.skipped >= (
            stage.samples.done + stage.samples.failed + stage.samples.skipped
        )
        if stage.state in order and now.state in order:
            assert order.index(now.state) >= order.index(stage.state), (stage, now)


@over_histories
@given(histories)
def test_every_history_ends_and_leaves_no_job_of_another_run(history: History) -> None:
    world = World(history, decides_twice=True)
    status = world.live()
    world.operator.settle()
    assert {job.seen.run for job in world.cluster.jobs.values() if not job.seen.deleting} <= {status.run}
    assert all(job.seen.ended or job.seen.deleting for job in world.cluster.jobs.values())
    finished = {condition.type: condition.status for condition in status.conditions}
    assert finished["Finished"] == "True"
    assert finished["Complete"] != finished["Failed"]


@over_histories
@given(histories)
def test_without_failing_pods_every_history_ends_with_all_good_samples_done(history: History) -> None:
    world = World(History(history.seed, history.faults, 0.0, history.bad_samples, history.samples, history.folds))
    status = world.live()
    good = set(range(world.cluster.samples)) - history.bad_samples
    assert status.phase == ("Complete" if good else "Failed"), status.conditions
    last = status.stages[-1]
    assert (last.samples.done, last.samples.total) == (len(good), world.cluster.samples)


@over_histories
@given(histories, st.integers(0, 2**32))
def test_the_end_is_sticky(history: History, seed: int) -> None:
    world = World(history)
    status = world.live()
    chance = random.Random(seed)
    world.cluster.jobs = {name: job for name, job in world.cluster.jobs.items() if chance.random() < 0.5}
    world.cluster.pods = {}
    world.cluster.edit(suspend=chance.random() < 0.5, scheduling={"priorityClassName": "batch"})
    created = len(world.operator.created)
    for _ in range(20):
        world.operator.settle()
        world.cluster.tick()
    assert len(world.operator.created) == created
    assert world.operator.status.phase == status.phase
    assert world.operator.status.stages == status.stages


@over_histories
@given(histories, st.integers(0, 60))
def test_a_suspended_object_has_no_jobs_and_continues_where_it_was(history: History, moment: int) -> None:
    world = World(History(history.seed, (), history.failure_rate, history.bad_samples, history.samples, history.folds))
    for _ in range(moment):
        world.operator.settle()
        world.cluster.tick()
    world.operator.settle()
    if world.operator.status.phase in ("Complete", "Failed"):
        return
    world.cluster.edit(suspend=True)
    for _ in range(8):
        world.operator.settle()
        world.cluster.tick()
    world.operator.settle()
    assert not world.cluster.jobs
    assert world.operator.status.phase == "Suspended"
    done = dict(world.cluster.storage.records)
    world.cluster.edit(suspend=False)
    status = world.live()
    assert status.phase in ("Complete", "Failed")
    assert done.items() <= world.cluster.storage.records.items()


@over_histories
@given(histories, st.integers(0, 70))
def test_a_lost_status_starts_the_work_again_without_doubling_jobs(history: History, moment: int) -> None:
    world = World(history)
    for world.tick in range(moment):
        world.operator.settle()
        world.cluster.tick()
    world.cluster.status = {}
    assert world.live().phase in ("Complete", "Failed")


def test_a_wrong_planner_would_be_noticed() -> None:
    """The simulator refuses a second Job of the same name, which is what the properties rest on."""
    cluster = Cluster()
    operator = Operator(cluster)
    operator.settle()
    create = operator.created[0]
    try:
        cluster.carry_out(create)
    except AssertionError:
        return
    raise AssertionError("a second Job of the same name was made")


@over_histories
@given(histories, st.integers(0, 60))
def test_deciding_again_asks_for_the_same_and_carrying_out_twice_is_as_good_as_once(
    history: History, moment: int
) -> None:
    world = World(history)
    for world.tick in range(moment):
        world._suffer()
        world.operator.settle()
        world.cluster.tick()
    observed = world.cluster.observed()
    first = decide(observed, DecideSettings(), world.cluster.now)
    assert decide(observed, DecideSettings(), world.cluster.now) == first
    kinds = [type(action) for action in first.actions]
    assert kinds.count(CreateJob) <= 1
    deleted = [action.name for action in first.actions if isinstance(action, DeleteJob)]
    assert len(deleted) == len(set(deleted))
    assert not (CreateJob in kinds and first.status is not None and first.status.phase in ("Complete", "Failed"))
    world.operator.settle()
    again = decide(world.cluster.observed(), DecideSettings(), world.cluster.now)
    assert not [action for action in again.actions if not isinstance(action, EmitEvent)]
    assert again.status == world.operator.status
