"""How work ends badly, or goes on in spite of it: every reason with its words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from simulated_cluster import Cluster, Fate, spec_of
from simulated_operator import Operator

from scenewright.planning.problems import Problem
from scenewright.reconcile.cache.observation import Dependency, Inspection, ObjectKey, Refusal
from scenewright.reconcile.decide import DecideSettings, endings
from scenewright_stages.contract.reports import Report, StageCounts

TUNING = ObjectKey("TuningRun", "lab", "fixer")


def failing(step: str, code: int, times: int = 1000) -> Fate:
    """Pods of a step end with a code, so often."""
    left = {"times": times}

    def fate(each: str, index: int, attempt: int) -> int:
        if each == step and left["times"] > 0:
            left["times"] -= 1
            return code
        return 0

    return fate


def why(operator: Operator, kind: str = "Failed") -> tuple[str, str]:
    """Reason and message of a condition that is true."""
    found = next(each for each in operator.status.conditions if each.type == kind)
    assert found.status == "True", operator.status.conditions
    return found.reason, found.message


def until_step(operator: Operator, step: str, ended: bool = False) -> str:
    """Lets time pass until a step's Job is there (or has ended); its name."""
    for _ in range(200):
        operator.settle()
        for name, job in operator.cluster.jobs.items():
            if job.seen.step == step:
                while ended and not job.seen.ended:
                    operator.cluster.tick()
                return name
        operator.cluster.tick()
    raise AssertionError(f"{step} never came")


def fail_job(operator: Operator, step: str, reason: str, message: str = "") -> None:
    """Ends a step's live Job as failed."""
    name = until_step(operator, step)
    job = operator.cluster.jobs[name]
    now = operator.cluster.now
    job.seen = replace(job.seen, ended="Failed", reason=reason, message=message, ended_at=now)


def test_a_refused_spec_fails_with_path_value_and_remedy_and_starts_nothing() -> None:
    operator = Operator(Cluster(spec=spec_of(vistadream={"coarse": {"frames": 0}})))
    status = operator.run()
    reason, message = why(operator)
    assert reason == "InvalidSpec"
    assert "spec.vistadream.coarse.frames: 0: must be >= 1" in message
    accepted = next(each for each in status.conditions if each.type == "Accepted")
    assert (accepted.status, accepted.reason, accepted.message) == ("False", "InvalidSpec", message)
    assert not operator.created


def test_a_refused_spec_is_reported_once() -> None:
    cluster = Cluster(spec=spec_of(vistadream={"coarse": {"frames": 0}}))
    operator = Operator(cluster)
    first = operator.run()
    cluster.now += timedelta(hours=1)
    operator.settle()
    assert operator.status == first
    assert [event.reason for event in operator.events] == ["InvalidSpec"]


def test_a_refused_edit_ends_the_run_and_a_good_one_starts_another() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    until_step(operator, "depth")
    good = cluster.spec["vistadream"]
    cluster.edit(vistadream={"mode": "sideways"})
    operator.settle()
    assert why(operator)[0] == "InvalidSpec"
    assert all(job.seen.deleting for job in cluster.jobs.values())
    cluster.edit(vistadream=good)
    operator.settle()
    assert operator.run().phase == "Complete"
    assert operator.status.starts == 2


def test_a_kind_without_a_pipeline_says_so() -> None:
    cluster = Cluster()
    cluster.plans[1, ""] = Refusal((Problem("kind", "SceneJob", "no pipeline of this kind is installed"),))
    operator = Operator(cluster)
    operator.run()
    reason, message = why(operator)
    assert reason == "NotSupported"
    assert "no pipeline of this kind" in message
    assert not operator.created


@pytest.mark.parametrize("step", ["index", "depth", "publish"])
def test_a_configuration_error_ends_the_run_with_the_workers_words(step: str) -> None:
    operator = Operator(Cluster(fate=failing(step, 10)))
    operator.run()
    assert why(operator) == ("ConfigurationError", "spec.vistadream: 1: must be 2")


def test_a_sample_failed_under_fail_ends_the_run() -> None:
    cluster = Cluster(fate=failing("depth", 20))
    cluster.edit_execution(onSampleError="Fail")
    operator = Operator(cluster)
    operator.run()
    assert why(operator)[0] == "SampleFailed"


def test_a_job_that_a_pod_ended_waits_a_moment_for_the_news_of_that_pod() -> None:
    operator = Operator(Cluster())
    fail_job(
        operator, "depth", "PodFailurePolicy", "Container worker failed with exit code 10 matching rule at index 1"
    )
    decision = operator.settle()
    assert operator.status.phase == "Running"
    assert decision.again_after == pytest.approx(DecideSettings().report_grace)
    for _ in range(4):
        operator.cluster.tick()
    operator.settle()
    reason, message = why(operator)
    assert reason == "PodFailurePolicy"
    assert "index 1" in message


@pytest.mark.parametrize("reason", ["MaxFailedIndexesExceeded", "DeadlineExceeded"])
def test_a_stage_that_kubernetes_ended_ends_the_run_with_its_reason(reason: str) -> None:
    operator = Operator(Cluster())
    fail_job(operator, "depth", reason, "as Kubernetes says")
    operator.settle()
    assert why(operator) == (reason, "depth: as Kubernetes says")
    depth = next(stage for stage in operator.status.stages if stage.name == "depth")
    assert depth.state == "Failed"


def test_lost_shards_end_the_run_under_fail() -> None:
    cluster = Cluster(fate=failing("depth", 21))
    cluster.edit_execution(onSampleError="Fail")
    operator = Operator(cluster)
    operator.run()
    assert why(operator)[0] == "FailedIndexes"


@pytest.mark.parametrize(("step", "reason"), [("index", "IndexFailed"), ("publish", "PublishFailed")])
def test_a_cpu_step_that_fails_is_repeated_after_a_pause_and_not_for_ever(step: str, reason: str) -> None:
    cluster = Cluster(fate=failing(step, 21, times=2))
    operator = Operator(cluster)
    assert operator.run().phase == "Complete"
    assert operator.status.restarts == 2
    times = [event for event in operator.events if event.reason == reason]
    assert len(times) == 2

    hopeless = Operator(Cluster(fate=failing(step, 21)))
    hopeless.run()
    found, message = why(hopeless)
    assert found == reason
    assert "storage cannot be reached" in message
    assert [create.step for create in hopeless.created].count(step) == 6

    impatient = Operator(Cluster(fate=failing(step, 21)))
    impatient.cluster.edit_execution(retries={"passes": 0})
    impatient.run()
    assert why(impatient)[0] == reason
    assert [create.step for create in impatient.created].count(step) == 1


def test_a_failed_cpu_step_waits_longer_each_time() -> None:
    operator = Operator(Cluster())
    fail_job(operator, "index", "FailedIndexes")
    assert operator.settle().again_after == pytest.approx(30.0)
    assert [create.step for create in operator.created] == ["index"]


def test_an_output_that_somebody_else_has_locked_is_waited_for_until_the_lock_has_ended() -> None:
    cluster = Cluster()
    cluster.lock_ends = cluster.now + timedelta(seconds=280)
    operator = Operator(cluster)
    until_step(operator, "index", ended=True)
    partial = operator.settle()
    assert (operator.status.phase, *why(operator, "Waiting")) == (
        "Waiting",
        "OutputInUse",
        "in use by a laptop",
    )
    assert partial.again_after == pytest.approx((cluster.lock_ends - cluster.now).total_seconds())
    assert operator.run().phase == "Complete"
    assert operator.status.restarts == 1
    assert [create.step for create in operator.created].count("index") == 2
    assert [(event.type, event.reason) for event in operator.events][1] == ("Normal", "OutputInUse")


def test_a_lock_is_still_waited_for_when_the_pod_that_reported_it_is_gone() -> None:
    cluster = Cluster()
    cluster.lock_ends = cluster.now + timedelta(seconds=280)
    operator = Operator(cluster)
    until_step(operator, "index", ended=True)
    operator.settle()
    cluster.pods = {}
    assert operator.run().phase == "Complete"
    assert operator.status.restarts == 1


@pytest.mark.parametrize(("passes", "tries"), [(2, 6), (0, 1)])
def test_a_lock_that_is_held_on_and_on_fails_the_run_in_the_end(passes: int, tries: int) -> None:
    cluster = Cluster()
    cluster.edit_execution(retries={"passes": passes})
    cluster.lock_ends = cluster.now + timedelta(days=1)
    operator = Operator(cluster)
    operator.run(ticks=1000)
    assert why(operator) == ("OutputInUse", "in use by a laptop")
    assert [create.step for create in operator.created].count("index") == tries


def test_a_stage_whose_output_was_taken_over_begins_again_at_the_index() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    until_step(operator, "depth")
    cluster.lock_ends = cluster.now + timedelta(seconds=100)
    assert operator.run().phase == "Complete"
    assert operator.status.restarts == 1
    assert [create.step for create in operator.created].count("index") == 2


def test_a_cpu_step_that_ran_out_of_time_is_not_repeated() -> None:
    operator = Operator(Cluster())
    fail_job(operator, "index", "DeadlineExceeded", "was active longer than specified deadline")
    operator.settle()
    assert why(operator) == ("IndexFailed", "index: was active longer than specified deadline")


def test_the_report_of_a_failed_attempt_is_not_taken_for_that_of_the_step() -> None:
    cluster = Cluster(fate=failing("publish", 1, times=1))
    operator = Operator(cluster)
    until_step(operator, "publish", ended=True)
    cluster.pods = {name: pod for name, pod in cluster.pods.items() if pod.exit_code != 0}
    assert [pod.step for pod in cluster.pods.values()] == ["publish"]
    assert operator.run().phase == "Complete"
    assert operator.status.restarts == 1


def test_models_that_cannot_be_fetched_fail_the_run() -> None:
    spec = spec_of(
        vistadream={"mode": "coarse", "depth": {"backend": "depth-anything"}},
        models={"cacheClaim": "models", "acceptLicenses": ["apache-2.0", "cc-by-nc-4.0"]},
    )
    operator = Operator(Cluster(spec=spec, fate=failing("models", 1)))
    operator.run()
    assert why(operator)[0] == "ModelsFailed"


def test_a_lost_report_runs_its_job_again_and_not_for_ever() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    until_step(operator, "index", ended=True)
    cluster.pods = {}
    assert operator.run().phase == "Complete"
    assert operator.status.restarts == 1
    assert [create.step for create in operator.created].count("index") == 2

    cluster = Cluster()
    hopeless = Operator(cluster)
    for _ in range(400):
        hopeless.settle()
        cluster.tick()
        cluster.pods = {name: pod for name, pod in cluster.pods.items() if pod.exit_code is None}
    assert why(hopeless)[0] == "ReportLost"


def test_news_that_a_stalled_watch_withholds_are_asked_for() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    until_step(operator, "index", ended=True)
    cluster.news_delayed = True
    assert operator.run().phase == "Complete"
    assert operator.status.restarts == 0
    assert [create.step for create in operator.created].count("index") == 1
    assert Inspection("pods", next(iter(cluster.jobs))) in cluster.answers


def test_a_report_that_comes_after_the_news_of_its_job_is_waited_for() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    until_step(operator, "index", ended=True)
    cluster.news_delayed = True
    operator.settle()
    assert operator.status.restarts == 0
    cluster.news_delayed = False
    operator.settle()
    assert operator.status.stage == "outpaint"


def test_a_lost_job_of_a_stage_that_ran_begins_the_pass_again() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    name = until_step(operator, "depth")
    while next(stage for stage in operator.status.stages if stage.name == "depth").state != "Running":
        cluster.tick()
        operator.settle()
    del cluster.jobs[name]
    operator.settle()
    status = operator.status
    assert (status.clearing, status.restarts, status.passes) == (True, 1, 1)
    assert operator.run().phase == "Complete"
    assert [create.step for create in operator.created].count("index") == 2


def test_an_upgrade_with_other_stages_begins_the_pass_again() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    until_step(operator, "depth")
    old = operator.status.model_copy(update={"stages": operator.status.stages[:3]})
    cluster.status = old.model_dump(mode="json", by_alias=True)
    operator.settle()
    assert operator.status.clearing
    assert operator.run().phase == "Complete"
    assert len(operator.status.stages) == 5


def test_a_job_that_is_lost_again_and_again_fails_the_run() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    for _ in range(900):
        operator.settle()
        cluster.tick()
        for name, job in list(cluster.jobs.items()):
            if job.seen.step == "depth" and job.seen.ready and not job.seen.deleting:
                operator.settle()
                cluster.delete_job(name)
    assert why(operator)[0] == "JobLost"


@pytest.mark.parametrize(
    ("skipped", "warnings", "message"),
    [
        (0, [], "the input holds no sample"),
        (0, ["the page could not be written"], "the input holds no sample"),
        (3, ["3 of 3 samples rejected: no-subject"], "nothing is left; 3 of 3 samples rejected: no-subject"),
    ],
)
def test_a_job_whose_rules_left_out_everything_says_which_rule(skipped: int, warnings: list[str], message: str) -> None:
    stages = {"segment": StageCounts(total=skipped, skipped=skipped)}
    assert endings._none_done(Report(step="publish", stages=stages, warnings=warnings)) == message


def test_no_sample_done_is_a_failure_that_names_the_first() -> None:
    operator = Operator(Cluster(samples=2, bad_samples=frozenset({0, 1})))
    operator.run()
    reason, message = why(operator)
    assert reason == "NoSampleDone"
    assert "none of 2 samples is done; photo-0 in outpaint: ImageTruncated: cut short" in message


def test_some_samples_done_is_complete_and_names_the_failures() -> None:
    operator = Operator(Cluster(samples=3, bad_samples=frozenset({1})))
    operator.run()
    reason, message = why(operator, "Complete")
    assert reason == "SamplesFailed"
    assert message.startswith("1 of 3 samples failed; photo-1 in outpaint")


@pytest.mark.parametrize(
    ("state", "phase", "reason"),
    [
        ("Missing", "Waiting", "DependencyMissing"),
        ("Running", "Waiting", "DependencyRunning"),
        ("Awaiting", "Waiting", "DependencyAwaiting"),
        ("Suspended", "Waiting", "DependencySuspended"),
        ("PlannedOnly", "Waiting", "DependencyPlannedOnly"),
        ("Unpublished", "Waiting", "DependencyUnpublished"),
        ("Failed", "Failed", "DependencyFailed"),
        ("Cycle", "Failed", "DependencyCycle"),
        ("NotOffered", "Failed", "DependencyNotOffered"),
    ],
)
def test_a_dependency_is_waited_for_or_fails_the_work(state: Any, phase: Any, reason: str) -> None:
    cluster = Cluster(dependencies=(Dependency(TUNING, state),))
    operator = Operator(cluster)
    operator.settle()
    assert operator.status.phase == phase
    found, message = why(operator, phase)
    assert found == reason
    assert "TuningRun lab/fixer" in message
    assert not operator.created


def test_the_work_starts_when_its_dependency_is_complete() -> None:
    cluster = Cluster(dependencies=(Dependency(TUNING, "Running"),))
    operator = Operator(cluster)
    operator.settle()
    cluster.dependencies = (Dependency(TUNING, "Complete"),)
    assert operator.run().phase == "Complete"
