"""Runs from start to end: what is created in which order, what ends whom, and what starts nothing."""

from __future__ import annotations

from dataclasses import replace

from simulated_cluster import Cluster, spec_of
from simulated_operator import Operator

from scenewright.execution.jobs import CreateJob
from scenewright.reconcile.cache.observation import Dependency, ObjectKey, ObservedPod
from scenewright.reconcile.decide import DecideSettings, decide
from scenewright.reconcile.decide.actions import DeleteJob, SetParallelism

CHAIN = ["outpaint", "depth", "initialize", "coarse", "render"]
CPU = {"execution": {"samplesPerShard": 4}}


def steps(operator: Operator) -> list[str]:
    """Steps of the Jobs that were created."""
    return [create.step for create in operator.created]


def until(operator: Operator, step: str) -> None:
    """Lets time pass until a step's Job is there."""
    for _ in range(200):
        operator.settle()
        if any(job.seen.step == step for job in operator.cluster.jobs.values()):
            return
        operator.cluster.tick()
    raise AssertionError(f"{step} never came: {operator.status}")


def condition(operator: Operator, kind: str) -> tuple[str, str]:
    """Status and reason of a condition."""
    found = next(each for each in operator.status.conditions if each.type == kind)
    return found.status, found.reason


def test_a_run_goes_through_index_stages_and_publish_with_few_writes_and_an_event_a_phase() -> None:
    operator = Operator(Cluster())
    status = operator.run()
    assert status.phase == "Complete"
    assert steps(operator) == ["index", *CHAIN, "publish"]
    assert operator.urgent_writes == len(steps(operator)) + 1
    assert [event.reason for event in operator.events] == ["Started", "Running", "Publishing", "Complete"]
    assert status.progress == "50/50"
    assert [stage.shards.total for stage in status.stages] == [3] * 5
    assert all(stage.started_at and stage.finished_at and stage.gpu_seconds > 0 for stage in status.stages)
    assert condition(operator, "Complete") == ("True", "Succeeded")


def test_unchanged_work_costs_index_and_publish_only() -> None:
    cluster = Cluster()
    Operator(cluster).run()
    cluster.status = {}
    cluster.jobs, cluster.pods = {}, {}
    again = Operator(cluster)
    status = again.run()
    assert steps(again) == ["index", "publish"]
    assert [stage.state for stage in status.stages] == ["UpToDate"] * 5
    assert status.progress == "50/50"


def test_only_the_stages_with_something_to_do_run_and_are_sized_by_the_index() -> None:
    cluster = Cluster(samples=30)
    Operator(cluster).run()
    for sample in range(5):
        key = cluster.work().keys["coarse"]  # type: ignore[union-attr]
        del cluster.storage.records[key, sample]
    cluster.status, cluster.jobs, cluster.pods = {}, {}, {}
    again = Operator(cluster)
    again.run()
    sizes = [(create.step, create.shards) for create in again.created]
    assert sizes == [("index", 1), ("coarse", 2), ("render", 2), ("publish", 1)]


def test_index_folds_into_the_first_stage_of_a_new_object_with_a_single_file() -> None:
    operator = Operator(Cluster(spec=spec_of(input={"uri": "s3://photos/one.JPG"}), samples=1))
    assert operator.run().phase == "Complete"
    first = operator.created[0]
    assert (first.step, first.fold_index, first.shards) == ("outpaint", True, 1)
    assert steps(operator) == [*CHAIN, "publish"]


def test_a_gpu_stage_is_not_asked_to_index_an_object_that_ran_before() -> None:
    cluster = Cluster(spec=spec_of(input={"uri": "s3://photos/one.jpg"}), samples=1)
    operator = Operator(cluster)
    operator.run()
    cluster.edit_execution(seed=7)
    operator.run()
    assert steps(operator)[len(CHAIN) + 1] == "index"


def test_publish_folds_into_a_last_stage_of_one_shard_on_a_cpu() -> None:
    operator = Operator(Cluster(spec=spec_of(**CPU), samples=3))
    assert operator.run().phase == "Complete"
    assert steps(operator) == ["index", *CHAIN]
    assert [create.fold_publish for create in operator.created] == [False] * 5 + [True]
    assert not any(create.fold_publish for create in _created(Cluster(spec=spec_of(**CPU), samples=9)))


def _created(cluster: Cluster) -> list[CreateJob]:
    operator = Operator(cluster)
    operator.run()
    return operator.created


def test_publish_runs_alone_when_the_report_of_a_folded_one_is_lost() -> None:
    cluster = Cluster(spec=spec_of(**CPU), samples=3)
    operator = Operator(cluster)
    until(operator, "render")
    job = next(job for job in cluster.jobs.values() if job.seen.step == "render")
    while not job.seen.ended:
        cluster.tick()
    cluster.pods = {}
    assert operator.run().phase == "Complete"
    assert steps(operator)[-2:] == ["render", "publish"]


def test_an_edit_of_the_work_ends_its_jobs_and_begins_when_they_are_gone() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    until(operator, "depth")
    first_run = operator.status.run
    cluster.edit_execution(seed=7)
    decision = operator.settle()
    assert all(job.seen.deleting for job in cluster.jobs.values())
    assert condition(operator, "Progressing") == ("True", "EndingPreviousRun")
    assert not [action for action in decision.actions if isinstance(action, CreateJob)]
    status = operator.run()
    assert status.phase == "Complete"
    assert status.run != first_run
    assert status.run.endswith("-2")


def test_results_are_named_until_others_take_their_place() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    assert operator.run().outputs.results == "s3://scenes/curated"
    cluster.edit_execution(seed=7)
    operator.settle()
    assert operator.status.outputs.results == "s3://scenes/curated"
    cluster.edit(output={"uri": "s3://scenes/elsewhere"})
    operator.settle()
    assert operator.status.outputs.results == ""


def test_edits_that_are_no_work_start_nothing_and_are_observed() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    operator.run()
    created = len(operator.created)
    cluster.edit(scheduling={"priorityClassName": "high"}, ttlSecondsAfterFinished=1000)
    operator.settle()
    assert len(operator.created) == created
    assert operator.status.observed_generation == 2
    assert {each.observed_generation for each in operator.status.conditions} == {2}


def test_parallelism_is_patched_into_the_live_job_once() -> None:
    cluster = Cluster(samples=40)
    operator = Operator(cluster)
    until(operator, "depth")
    cluster.edit_execution(maxParallelism=2)
    operator.settle()
    job = next(job for job in cluster.jobs.values() if job.seen.step == "depth")
    assert job.seen.parallelism == 2
    assert not [action for action in operator.settle().actions if isinstance(action, SetParallelism)]


def test_the_parallelism_of_an_admitted_job_belongs_to_its_queue() -> None:
    cluster = Cluster(spec=spec_of(scheduling={"queueName": "lab"}), samples=40)
    operator = Operator(cluster)
    until(operator, "depth")
    cluster.edit_execution(maxParallelism=2)
    operator.settle()
    job = next(job for job in cluster.jobs.values() if job.seen.step == "depth")
    assert job.seen.parallelism == 10


def test_a_retry_token_runs_again_what_failed_and_an_old_one_starts_nothing() -> None:
    cluster = Cluster(bad_samples=frozenset({1}))
    operator = Operator(cluster)
    operator.run()
    assert condition(operator, "Complete") == ("True", "SamplesFailed")
    assert (operator.status.failed, operator.status.failures[0].sample) == (1, "photo-1")

    cluster.bad_samples = frozenset()
    cluster.annotations["scenewright.io/retry"] = "now"
    operator.run()
    assert condition(operator, "Complete") == ("True", "Succeeded")
    assert [create.retry_failed for create in operator.created if create.step == "index"] == [False, True]

    created = len(operator.created)
    del cluster.annotations["scenewright.io/retry"]
    operator.run()
    cluster.annotations["scenewright.io/retry"] = "now"
    operator.run()
    assert len(operator.created) == created
    assert operator.status.retry_tokens == ["now"]


def test_failed_samples_are_tried_again_in_the_first_pass_only() -> None:
    lost = {"left": 1}

    def fate(step: str, index: int, attempt: int) -> int:
        if step == "depth" and lost["left"]:
            lost["left"] -= 1
            return 21
        return 0

    cluster = Cluster(fate=fate, spec=spec_of())
    cluster.edit_execution(retryToken="again")
    operator = Operator(cluster)
    assert operator.run().passes == 2
    assert [create.retry_failed for create in operator.created if create.step == "index"] == [True, False]


def test_an_edit_in_the_middle_of_a_retry_does_not_lose_the_retry() -> None:
    cluster = Cluster(bad_samples=frozenset({1}))
    operator = Operator(cluster)
    operator.run()
    cluster.bad_samples = frozenset()
    cluster.annotations["scenewright.io/retry"] = "now"
    operator.settle()
    cluster.edit(vistadream={"mode": "coarse", "coarse": {"frames": 3}})
    operator.run()
    assert condition(operator, "Complete") == ("True", "Succeeded")


def test_plan_only_counts_and_stops_and_continues_when_asked() -> None:
    cluster = Cluster()
    cluster.edit_execution(planOnly=True)
    operator = Operator(cluster)
    status = operator.run()
    assert steps(operator) == ["index"]
    assert operator.created[0].plan_only
    assert condition(operator, "Complete") == ("True", "Planned")
    message = next(each.message for each in status.conditions if each.type == "Complete")
    assert "outpaint 10" in message
    assert "GPU hours" in message
    cluster.edit_execution(planOnly=False)
    operator.settle()
    cluster.tick()
    assert operator.run().progress == "50/50"
    assert condition(operator, "Complete") == ("True", "Succeeded")


def test_plan_only_after_the_work_changes_nothing() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    operator.run()
    cluster.edit_execution(planOnly=True)
    operator.settle()
    assert condition(operator, "Complete") == ("True", "Succeeded")


def test_suspension_ends_jobs_and_says_when_they_are_gone() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    until(operator, "depth")
    cluster.edit(suspend=True)
    operator.settle()
    assert condition(operator, "Suspended") == ("False", "Suspending")
    for _ in range(5):
        cluster.tick()
        operator.settle()
    assert condition(operator, "Suspended") == ("True", "Suspended")
    assert not cluster.jobs
    assert operator.status.stages[0].state == "Done"
    cluster.edit(suspend=False)
    operator.settle()
    assert condition(operator, "Suspended")[0] == "False"
    assert operator.run().phase == "Complete"
    assert operator.status.starts == 2


def test_models_are_fetched_on_a_cpu_before_the_first_index_only() -> None:
    spec = spec_of(
        vistadream={"mode": "coarse", "depth": {"backend": "depth-anything"}},
        models={"cacheClaim": "models", "acceptLicenses": ["apache-2.0", "cc-by-nc-4.0"]},
    )
    cluster = Cluster(spec=spec)
    operator = Operator(cluster)
    assert operator.run().phase == "Complete"
    assert steps(operator)[:2] == ["models", "index"]
    cluster.edit_execution(seed=7)
    cluster.edit(models={**cluster.spec["models"], "cacheClaim": ""})
    again = Operator(cluster)
    assert again.run().phase == "Complete"
    assert "models" not in steps(again)


def test_models_are_not_fetched_again_for_another_pass() -> None:
    lost = {"left": 1}

    def fate(step: str, index: int, attempt: int) -> int:
        if step == "depth" and lost["left"]:
            lost["left"] -= 1
            return 21
        return 0

    spec = spec_of(
        vistadream={"mode": "coarse", "depth": {"backend": "depth-anything"}},
        models={"cacheClaim": "models", "acceptLicenses": ["apache-2.0", "cc-by-nc-4.0"]},
    )
    operator = Operator(Cluster(spec=spec, fate=fate))
    assert operator.run().passes == 2
    assert [steps(operator).count(step) for step in ("models", "index")] == [1, 2]


def test_suspension_between_two_passes_begins_with_an_index() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    until(operator, "depth")
    while next(stage for stage in operator.status.stages if stage.name == "depth").state != "Running":
        cluster.tick()
        operator.settle()
    cluster.jobs = {name: job for name, job in cluster.jobs.items() if job.seen.step != "depth"}
    operator.settle()
    assert operator.status.clearing
    cluster.edit(suspend=True)
    operator.settle()
    assert not operator.status.clearing
    cluster.edit(suspend=False)
    operator.settle()
    assert operator.run().phase == "Complete"


def test_samples_without_a_record_lead_to_another_pass_after_all_jobs_are_gone() -> None:
    fails = {"depth": 1}

    def fate(step: str, index: int, attempt: int) -> int:
        if fails.get(step) and index == 0:
            fails[step] -= 1
            return 21
        return 0

    cluster = Cluster(fate=fate)
    operator = Operator(cluster)
    status = operator.run()
    assert status.phase == "Complete"
    assert (status.passes, status.run[-2:]) == (2, "-1")
    assert steps(operator).count("index") == 2
    assert "NextPass" in [event.reason for event in operator.events]


def test_passes_are_bounded() -> None:
    cluster = Cluster(fate=lambda step, index, attempt: 21 if step == "depth" and index == 0 else 0)
    operator = Operator(cluster)
    status = operator.run()
    assert condition(operator, "Failed") == ("True", "SamplesMissing")
    assert status.passes == 3
    message = next(each.message for each in status.conditions if each.type == "Failed")
    assert "3 passes" in message


def test_a_lost_shard_does_not_stop_the_chain() -> None:
    cluster = Cluster(fate=lambda step, index, attempt: 21 if step == "depth" and index == 1 else 0)
    cluster.edit_execution(retries={"passes": 0})
    operator = Operator(cluster)
    status = operator.run()
    assert steps(operator) == ["index", *CHAIN, "publish"]
    depth = next(stage for stage in status.stages if stage.name == "depth")
    assert (depth.state, depth.shards.done, depth.shards.failed) == ("Done", 2, 1)


def test_jobs_of_other_runs_are_deleted_and_those_of_this_run_are_kept() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    until(operator, "depth")
    stray = replace(cluster.jobs[next(iter(cluster.jobs))].seen, name="stray", uid="stray", run="other-1")
    observed = replace(cluster.observed(), jobs=(*cluster.observed().jobs, stray))
    actions = decide(observed, DecideSettings(), cluster.now).actions
    assert [action.name for action in actions if isinstance(action, DeleteJob)] == ["stray"]


def test_a_job_is_deleted_once_whatever_the_reasons() -> None:
    cluster = Cluster()
    until(Operator(cluster), "depth")
    cluster.edit_execution(seed=7)
    cluster.dependencies = (Dependency(ObjectKey("TuningRun", "lab", "fixer"), "Failed"),)
    actions = decide(cluster.observed(), DecideSettings(), cluster.now).actions
    names = [action.name for action in actions if isinstance(action, DeleteJob)]
    assert sorted(names) == sorted(cluster.jobs)


def test_pods_of_an_earlier_job_of_the_same_name_are_not_believed() -> None:
    cluster = Cluster()
    operator = Operator(cluster)
    operator.settle()
    job = next(iter(cluster.jobs.values()))
    while not job.seen.ended:
        cluster.tick()
    old: dict[str, ObservedPod] = {}
    for name, pod in cluster.pods.items():
        old[name] = replace(pod, owner_uid="of-an-earlier-job")
    cluster.pods = old
    operator.settle()
    assert steps(operator) == ["index"]
    assert not operator.status.stages


def test_a_late_report_of_a_folded_publish_is_waited_for() -> None:
    cluster = Cluster(spec=spec_of(**CPU), samples=3)
    operator = Operator(cluster)
    until(operator, "render")
    job = next(job for job in cluster.jobs.values() if job.seen.step == "render")
    while not job.seen.ended:
        cluster.tick()
    cluster.news_delayed = True
    operator.settle()
    cluster.news_delayed = False
    assert operator.run().phase == "Complete"
    assert steps(operator)[-1] == "render"
