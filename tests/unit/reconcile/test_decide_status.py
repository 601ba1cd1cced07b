"""The status: bounded, without churn, right even if no progress ever came, and with conditions that tools can trust."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from simulated_cluster import BEGIN, Cluster, spec_of
from simulated_operator import Operator

from scenewright.api.status import Condition, Status, read_status
from scenewright.reconcile.cache.observation import Observed
from scenewright.reconcile.decide import DecideSettings, decide
from scenewright.reconcile.decide.actions import DeleteObject
from scenewright.reconcile.decide.decision import MAXIMUM_STATUS_BYTES, bounded, is_urgent, size_of
from scenewright.telemetry.progress.store import StepProgress
from scenewright_stages.contract.reports import Failure, Report, StageCounts

SETTINGS = DecideSettings(progress_after=0.0)


def reach(operator: Operator, step: str, running: bool = False) -> None:
    """Lets time pass until a step's Job is there, or its Pods run."""
    for _ in range(200):
        operator.settle()
        for job in operator.cluster.jobs.values():
            if job.seen.step == step and (job.seen.ready or not running):
                return
        operator.cluster.tick()
    raise AssertionError(f"{step} never came")


def conditions(status: Status) -> dict[str, Condition]:
    """Conditions by type."""
    return {each.type: each for each in status.conditions}


def running_with_progress(**counters: Any) -> tuple[Operator, Observed]:
    """A run whose stage `depth` runs, and what its Pods pushed."""
    operator = Operator(Cluster(samples=20))
    reach(operator, "depth", running=True)
    operator.settle()
    progress = {"depth": StepProgress(at=operator.cluster.now, **counters)}
    return operator, replace(operator.cluster.observed(), progress=progress)


def test_conditions_change_their_time_only_with_their_truth() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    operator.settle()
    first = conditions(operator.status)
    reach(operator, "depth")
    cluster.edit(scheduling={"priorityClassName": "high"})
    operator.settle()
    later = conditions(operator.status)
    assert later["Progressing"].reason != first["Progressing"].reason
    assert later["Progressing"].last_transition_time == first["Progressing"].last_transition_time
    assert {each.observed_generation for each in later.values()} == {2}
    operator.run()
    assert conditions(operator.status)["Complete"].last_transition_time != first["Complete"].last_transition_time
    assert conditions(operator.status)["Accepted"].last_transition_time == first["Accepted"].last_transition_time


def test_every_condition_is_there_from_the_start_with_a_reason_the_api_server_takes() -> None:
    operator = Operator(Cluster())
    operator.settle()
    found = conditions(operator.status)
    assert list(found) == ["Accepted", "Progressing", "Waiting", "Suspended", "Complete", "Failed", "Finished"]
    assert all(each.reason.isalnum() and each.reason[0].isalpha() for each in found.values())


def test_a_new_edit_takes_complete_back_until_it_is_done() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    operator.run()
    cluster.edit_execution(seed=3)
    operator.settle()
    found = conditions(operator.status)
    assert (found["Complete"].status, found["Finished"].status) == ("False", "False")


def test_an_equal_observation_gives_an_equal_status_whenever_it_is_looked_at() -> None:
    operator, observed = running_with_progress(done=5, samples_per_minute=12.0, busy_seconds=30.0)
    now = operator.cluster.now
    first = decide(observed, SETTINGS, now)
    assert first.status is not None
    document = first.status.model_dump(mode="json", by_alias=True)
    again = replace(observed, object=replace(observed.object, status=read_status(document)))
    for seconds in (0, 7, 3600):
        later = decide(again, SETTINGS, now + timedelta(seconds=seconds))
        assert later.status == first.status
        assert not later.urgent


def test_progress_is_shown_and_is_not_urgent() -> None:
    operator, observed = running_with_progress(
        done=5, failed=1, samples_per_minute=12.345, busy_seconds=30.0, waiting_seconds=6.0
    )
    decision = decide(observed, SETTINGS, operator.cluster.now)
    assert decision.status is not None
    assert not decision.urgent
    depth = next(stage for stage in decision.status.stages if stage.name == "depth")
    assert (depth.samples.done, depth.samples.failed, depth.samples.total) == (5, 1, 20)
    assert (depth.gpu_seconds, depth.gpu_busy_seconds) == (36.0, 30.0)
    left = timedelta(minutes=14 / 12.345)
    assert abs((operator.cluster.now + left).timestamp() - _moment(depth.eta)) < 1.0
    assert decision.status.progress == "26/100"
    assert decision.status.rate == "12.3/min"


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_numbers_of_a_stage_are_shown_while_no_sample_ends_and_stay_at_its_end() -> None:
    operator, observed = running_with_progress(busy_seconds=30.0, numbers={"loss": 0.5, "step": 100.0})
    decision = decide(observed, SETTINGS, operator.cluster.now)
    assert decision.status is not None and not decision.urgent
    depth = next(stage for stage in decision.status.stages if stage.name == "depth")
    assert depth.numbers == {"loss": 0.5, "step": 100.0}
    assert decision.status.message == "loss 0.5, step 100", "kubectl get shows it"
    assert depth.gpu_seconds == 30.0, "work of days on one sample has no other news"
    operator.cluster.status = decision.status.model_dump(mode="json", by_alias=True)
    ended = operator.run()
    depth = next(stage for stage in ended.stages if stage.name == "depth")
    assert (depth.state, depth.numbers) == ("Done", {"loss": 0.5, "step": 100.0})
    assert ended.message == ""


def test_gpu_time_and_rate_alone_are_not_worth_a_write() -> None:
    operator, observed = running_with_progress(done=5, samples_per_minute=12.0, busy_seconds=30.0)
    first = decide(observed, SETTINGS, operator.cluster.now).status
    assert first is not None
    document = first.model_dump(mode="json", by_alias=True)
    later = {"depth": replace(observed.progress["depth"], samples_per_minute=11.0, busy_seconds=90.0)}
    observed = replace(observed, object=replace(observed.object, status=read_status(document)), progress=later)
    assert decide(observed, SETTINGS, operator.cluster.now).status == first
    moved = {"depth": replace(later["depth"], done=6)}
    status = decide(replace(observed, progress=moved), SETTINGS, operator.cluster.now).status
    assert status is not None
    assert next(stage for stage in status.stages if stage.name == "depth").gpu_seconds == 90.0


def test_counters_of_an_earlier_pass_are_not_taken() -> None:
    operator, observed = running_with_progress(done=5)
    old = {"depth": replace(observed.progress["depth"], at=BEGIN - timedelta(hours=1))}
    status = decide(replace(observed, progress=old), SETTINGS, operator.cluster.now).status
    assert status is not None
    assert next(stage for stage in status.stages if stage.name == "depth").samples.done == 0


def test_a_short_stage_costs_no_write_for_its_progress() -> None:
    operator = Operator(Cluster(samples=20), settings=DecideSettings())
    assert operator.run().phase == "Complete"
    assert operator.held_writes == 0
    telling = Operator(Cluster(samples=20))
    telling.run()
    assert telling.held_writes >= 5

    operator, observed = running_with_progress(done=5)
    job = next(job for job in operator.cluster.jobs.values() if job.seen.step == "depth")
    young = decide(observed, DecideSettings(), job.seen.created_at + timedelta(seconds=12))
    assert young.again_after == pytest.approx(18)
    old = decide(observed, DecideSettings(), job.seen.created_at + timedelta(seconds=30))
    assert young.status is not None
    assert old.status is not None
    assert [status.stages[1].samples.done for status in (young.status, old.status)] == [0, 5]


def test_pushed_counts_never_lower_what_is_known_and_never_exceed_the_total() -> None:
    operator, observed = running_with_progress(done=1000, failed=3)
    first = decide(observed, SETTINGS, operator.cluster.now).status
    assert first is not None
    depth = next(stage for stage in first.stages if stage.name == "depth")
    assert depth.samples.done + depth.samples.failed == depth.samples.total
    document = first.model_dump(mode="json", by_alias=True)
    silent = replace(observed, object=replace(observed.object, status=read_status(document)), progress={})
    second = decide(silent, SETTINGS, operator.cluster.now).status
    assert second is not None
    assert second.stages == first.stages


def test_totals_are_right_although_no_progress_was_ever_received() -> None:
    operator = Operator(Cluster(samples=11, bad_samples=frozenset({2})))
    status = operator.run()
    counts = {stage.name: stage.samples for stage in status.stages}
    assert (counts["outpaint"].done, counts["outpaint"].failed) == (10, 1)
    assert (counts["render"].done, counts["render"].skipped, counts["render"].total) == (10, 1, 11)
    assert (status.progress, status.failed) == ("55/55", 1)


def test_the_reports_of_finished_shards_count_before_the_stage_ends() -> None:
    operator = Operator(Cluster(samples=20))
    operator.cluster.edit_execution(maxParallelism=1)
    reach(operator, "depth", running=True)
    for _ in range(3):
        operator.cluster.tick()
    operator.settle()
    depth = next(stage for stage in operator.status.stages if stage.name == "depth")
    assert depth.state == "Running"
    assert depth.samples.done == 4
    assert depth.shards.done == 1


def test_a_shard_whose_pod_has_succeeded_is_shown_until_its_job_has_counted_it() -> None:
    operator, observed = running_with_progress()
    (job,) = [job for job in observed.jobs if job.step == "depth"]
    shown = []
    for code, ready, counted in ((None, job.ready, 0), (0, 0, 0), (0, 0, 1), (1, 0, 0)):
        pods = [replace(pod, exit_code=code) for pod in observed.pods if pod.owner_uid == job.uid]
        now = replace(job, ready=ready, completed_indexes=counted)
        status = decide(replace(observed, jobs=(now,), pods=tuple(pods)), SETTINGS, operator.cluster.now).status
        assert status is not None
        shards = next(stage for stage in status.stages if stage.name == "depth").shards
        shown.append((shards.running, shards.done))
    assert job.ready > 1
    assert shown == [(job.ready, 0), (job.ready, 0), (job.ready - 1, 1), (0, 0)]


def test_rejected_inputs_are_counted_as_failed() -> None:
    cluster = Cluster(samples=2)
    index, publish = cluster.storage.index, cluster.storage.publish
    cluster.storage.index = lambda *args: index(*args).model_copy(update={"rejected": 3})  # type: ignore[method-assign]
    cluster.storage.publish = lambda *args: publish(*args).model_copy(update={"rejected": 3})  # type: ignore[method-assign]
    status = Operator(cluster).run()
    assert (status.rejected, status.failed, status.phase) == (3, 3, "Complete")
    assert conditions(status)["Complete"].message.startswith("3 of 5 samples failed")


def test_the_status_stays_below_its_limit_with_100_000_samples_and_10_000_shards() -> None:
    worst = "\U0001f5bc" * 2000
    quoted = '"' * 2000
    cluster = Cluster(samples=1)
    counts = StageCounts(total=100_000, todo=100_000, shards=10_000)
    final = StageCounts(total=100_000, done=50_000, failed=50_000)
    failures = [Failure(sample=worst, stage="outpaint", reason=quoted, message=quoted) for _ in range(20)]
    report = Report(
        step="index",
        samples=100_000,
        stages=dict.fromkeys(cluster.work().keys, counts),  # type: ignore[union-attr]
        failures=failures,
        warnings=[worst] * 10,
        outputs={"results": worst, "records": worst, "logs": worst, "report": worst},
    )
    cluster.storage.index = lambda *args: report  # type: ignore[method-assign]
    ended = report.model_copy(update={"step": "publish", "stages": dict.fromkeys(report.stages, final), "run": ""})
    cluster.storage.publish = lambda *args: ended  # type: ignore[method-assign]
    cluster.storage.worklists = _Nothing()
    operator = Operator(cluster)
    reach(operator, "outpaint")
    assert next(iter(cluster.jobs.values())).seen.step == "index"
    assert [create.shards for create in operator.created] == [1, 10_000]
    cluster.jobs = {name: job for name, job in cluster.jobs.items() if job.seen.step != "outpaint"}
    document = operator.status
    stages = [stage.model_copy(update={"state": "Done"}) for stage in document.stages]
    cluster.status = document.model_copy(update={"stages": stages}).model_dump(mode="json", by_alias=True)
    status = operator.run()
    assert status.phase == "Complete"
    assert len(status.failures) == 20
    assert size_of(status) <= MAXIMUM_STATUS_BYTES
    assert status.progress == "500000/500000"


class _Nothing(dict[tuple[str, str], list[int]]):
    def __missing__(self, key: tuple[str, str]) -> list[int]:
        return []


def test_a_status_above_its_limit_loses_warnings_before_failures() -> None:
    failure = {"sample": "s" * 200, "stage": "depth", "reason": "R" * 64, "message": '"' * 300}
    huge = Status.model_validate({"failures": [failure] * 20})
    huge = huge.model_copy(update={"warnings": ["\u0001" * 3000] * 10})
    assert size_of(huge) > MAXIMUM_STATUS_BYTES
    small = bounded(huge)
    assert size_of(small) <= MAXIMUM_STATUS_BYTES
    assert len(small.failures) == 20
    assert small.warnings == ["too long for the status: see summary.json"]


def test_what_ended_stages_measured_goes_before_failures_and_no_number_of_the_running_one_does() -> None:
    numbers = {f"n{number}_{'x' * 26}": 1.23456e-17 for number in range(16)}
    ended = [{"name": f"s{n}", "finishedAt": "2026-11-21T12:00:00Z", "numbers": numbers} for n in range(15)]
    failure = {"sample": "s" * 200, "stage": "depth", "reason": "R" * 64, "message": '"' * 300}
    huge = Status.model_validate({"stages": [*ended, {"name": "fit", "numbers": numbers}], "failures": [failure] * 20})
    assert size_of(huge) > MAXIMUM_STATUS_BYTES
    small = bounded(huge)
    assert size_of(small) <= MAXIMUM_STATUS_BYTES
    assert len(small.failures) == 20
    assert [len(stage.numbers) for stage in small.stages] == [0] * 15 + [16]


def test_long_refusals_are_cut_in_bytes() -> None:
    spec = spec_of(vistadream={"mode": "\U0001f5bc" * 50, **{f"unknown{n}": n for n in range(60)}})
    status = Operator(Cluster(spec=spec)).run()
    assert status.phase == "Failed"
    assert len(conditions(status)["Failed"].message.encode()) <= 700


@pytest.mark.parametrize(
    ("marks", "owner"),
    [
        (
            {"annotations": {"argocd.argoproj.io/tracking-id": "scenes:scenewright.io/SceneJob:lab/courtyard"}},
            "Argo CD",
        ),
        ({"labels": {"app.kubernetes.io/instance": "scenes"}}, "Argo CD"),
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "scenes"}}, "Flux"),
    ],
)
def test_an_object_that_git_owns_is_kept_and_says_so(marks: dict[str, Any], owner: str) -> None:
    cluster = Cluster(spec=spec_of(ttlSecondsAfterFinished=60), **marks)
    operator = Operator(cluster)
    operator.run()
    cluster.now += timedelta(days=1)
    operator.settle()
    assert not cluster.deleted
    warning = conditions(operator.status)["Warning"]
    assert (warning.status, warning.reason) == ("True", "ExpiryRefused")
    assert owner in warning.message


@pytest.mark.parametrize("labels", [{}, {"app.kubernetes.io/instance": "x", "app.kubernetes.io/managed-by": "Helm"}])
def test_an_object_goes_when_its_time_to_live_has_passed(labels: dict[str, str]) -> None:
    cluster = Cluster(spec=spec_of(ttlSecondsAfterFinished=600), labels=labels)
    operator = Operator(cluster)
    operator.run()
    assert operator.settle().again_after == pytest.approx(600, abs=1)
    cluster.now += timedelta(seconds=599)
    operator.settle()
    assert not cluster.deleted
    cluster.now += timedelta(seconds=1)
    decision = decide(cluster.observed(), SETTINGS, cluster.now)
    assert DeleteObject("courtyard", "uid-1") in decision.actions


def test_without_a_time_to_live_nothing_is_looked_at_again() -> None:
    operator = Operator(Cluster())
    operator.run()
    assert operator.settle().again_after is None


@pytest.mark.parametrize(("shared", "parallelism", "told"), [(False, 16, True), (True, 16, False), (False, 1, False)])
def test_a_model_cache_that_one_node_holds_is_reported(shared: bool, parallelism: int, told: bool) -> None:
    cluster = Cluster(spec=spec_of(models={"cacheClaim": "models"}))
    cluster.edit_execution(maxParallelism=parallelism)
    cluster.truths["cache-claim"] = (shared, "")
    operator = Operator(cluster)
    operator.run()
    found = conditions(operator.status).get("Warning")
    assert (found is not None and found.reason == "ModelCacheNotShared") == told
    assert [event.reason for event in operator.events].count("ModelCacheNotShared") == told
    assert [event.reason for event in operator.events].count("Started") == 1
    cluster.answers = {}
    assert not decide(cluster.observed(), SETTINGS, cluster.now).actions, "the question is not asked again"


def test_an_object_that_is_being_deleted_is_left_to_its_owner_references() -> None:
    operator = Operator(Cluster())
    reach(operator, "depth")
    observed = operator.cluster.observed()
    decision = decide(replace(observed, object=replace(observed.object, deleting=True)), SETTINGS, operator.cluster.now)
    assert decision.actions == ()
    assert decision.status is None


def test_a_status_of_another_version_is_restarted() -> None:
    cluster = Cluster(status={"phase": "Dancing", "unheardOf": 1})
    assert Operator(cluster).run().phase == "Complete"


def test_a_first_pod_is_progress_and_a_new_stage_is_urgent() -> None:
    operator = Operator(Cluster())
    reach(operator, "depth")
    before = operator.status
    moved = before.stages[1].model_copy(update={"state": "Running", "started_at": "2026-11-21T12:00:00Z"})
    progress = before.model_copy(update={"stages": [before.stages[0], moved, *before.stages[2:]]})
    assert not is_urgent(before, progress)
    assert is_urgent(before, before.model_copy(update={"stage": "coarse"}))


@pytest.mark.serial
def test_a_decision_takes_less_than_a_millisecond() -> None:
    _, observed = running_with_progress(done=5, samples_per_minute=12.0)
    seconds = []
    for _ in range(30):
        began = time.process_time()
        for _ in range(10):
            decide(observed, SETTINGS, BEGIN + timedelta(hours=1))
        seconds.append((time.process_time() - began) / 10)
    assert min(seconds) < 1e-3
