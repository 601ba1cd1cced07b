"""What other objects have published is kept for the run and told when it changes; runs wait for a person's choice."""

from __future__ import annotations

from simulated_cluster import Cluster
from simulated_operator import Operator

from scenewright.api.status import SampleCounts, StageStatus
from scenewright.planning.inputs import ResolvedInput
from scenewright.planning.plan import Plan
from scenewright.reconcile.cache.observation import Dependency, ObjectKey
from scenewright.reconcile.decide.context import condition_of
from scenewright.reconcile.decide.counts import finished_of_all, published_stages
from scenewright_stages.contract.reports import Report, StageCounts

FIXER = ObjectKey("TuningRun", "lab", "fixer")
RETRY = "scenewright.io/retry"


def complete(digest: str) -> Dependency:
    return Dependency(FIXER, "Complete", "checkpoint", published=ResolvedInput("s3://out/fixer", digest, "best.pt"))


def test_a_run_keeps_what_its_inputs_were_when_it_started() -> None:
    cluster = Cluster(dependencies=(complete("abc"),))
    operator = Operator(cluster)
    operator.settle()
    cluster.dependencies = (complete("another"),)
    assert operator.run().phase == "Complete"
    resolved = {job.resolved["checkpoint"] for job in operator.created}
    assert resolved == {ResolvedInput("s3://out/fixer", "abc", "best.pt")}
    (kept,) = operator.status.inputs
    assert (kept.name, kept.object, kept.hash) == ("checkpoint", "TuningRun/fixer", "abc")


def test_a_later_change_warns_and_starts_nothing_until_a_retry_takes_it_in() -> None:
    cluster = Cluster(dependencies=(complete("abc"),))
    operator = Operator(cluster)
    operator.run()
    jobs = len(operator.created)
    cluster.dependencies = (complete("another"),)
    operator.settle()
    warning = condition_of(operator.status.conditions, "Warning")
    assert warning is not None and (warning.status, warning.reason) == ("True", "DependencyChanged")
    assert "TuningRun/fixer" in warning.message
    assert (operator.status.phase, len(operator.created)) == ("Complete", jobs)
    assert [each.reason for each in operator.events].count("DependencyChanged") == 1

    cluster.annotations = {RETRY: "2"}
    operator.run()
    assert operator.status.inputs[0].hash == "another"
    warning = condition_of(operator.status.conditions, "Warning")
    assert warning is not None and warning.status == "False"


def test_an_operator_that_dies_at_the_start_does_not_continue_with_jobs_of_other_inputs() -> None:
    cluster = Cluster(dependencies=(complete("abc"),))
    operator = Operator(cluster)
    operator.settle(stop_after=1)
    (first,) = operator.created
    cluster.dependencies = (complete("another"),)
    assert operator.run().phase == "Complete"
    later = operator.created[1:]
    assert {job.resolved["checkpoint"].hash for job in later} == {"another"}
    assert first.run not in {job.run for job in later}


def test_what_was_published_is_in_the_status() -> None:
    cluster = Cluster()
    publish = cluster.storage.publish
    published = {"publication": "whole", "chosen": {"best": "3.pt@abc"}}
    cluster.storage.publish = lambda plan, run: publish(plan, run).model_copy(update=published)  # type: ignore[method-assign]
    status = Operator(cluster).run()
    assert (status.publication.hash, status.publication.chosen) == ("whole", {"best": "3.pt@abc"})


def awaiting(cluster: Cluster, samples: int) -> None:
    """Makes publish report that so many samples of the last stage wait for a choice."""
    publish = cluster.storage.publish

    def reported(plan: Plan, run: str) -> Report:
        report = publish(plan, run)
        last = plan.selected[-1]
        counts = report.stages[last]
        waiting = counts.model_copy(update={"done": counts.done - samples, "awaiting": samples})
        return report.model_copy(update={"stages": {**report.stages, last: waiting}})

    cluster.storage.publish = reported  # type: ignore[method-assign]


def test_samples_that_wait_for_a_choice_end_the_run_without_a_pod_until_a_retry() -> None:
    cluster = Cluster()
    publish = cluster.storage.publish
    awaiting(cluster, 2)
    operator = Operator(cluster)
    operator.run(ticks=60)
    assert operator.status.phase == "Waiting"
    waiting = condition_of(operator.status.conditions, "Waiting")
    assert waiting is not None and waiting.reason == "AwaitingSelection"
    assert "2 samples wait" in waiting.message and "scenewright pick scenejob/courtyard -n lab" in waiting.message
    assert sum(stage.samples.awaiting for stage in operator.status.stages) == 2
    created = len(operator.created)
    for _ in range(50):
        cluster.tick()
        operator.settle()
    # The Jobs go with their time to live, which makes nothing run again.
    cluster.jobs, cluster.pods = {}, {}
    operator.settle()
    assert (operator.status.phase, len(operator.created)) == ("Waiting", created)

    cluster.storage.publish = publish  # type: ignore[method-assign]
    cluster.annotations = {RETRY: "picked"}
    assert operator.run().phase == "Complete"
    assert len(operator.created) > created


def test_counts_of_a_stage_leave_out_what_waits_for_a_choice() -> None:
    stage = StageStatus(name="cover", samples=SampleCounts(total=5))
    (found,) = published_stages([stage], {"cover": StageCounts(total=5, done=3, awaiting=2)})
    assert (found.samples.done, found.samples.awaiting) == (3, 2)
    assert finished_of_all([found]) == (3, 5, 0)
