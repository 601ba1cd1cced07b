"""A TuningRun from its spec to its end: one sample without files, all GPUs of a Pod, and state that outlives Pods."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from plugins import plugins
from simulated_cluster import PODS, Cluster, Fate, always_well
from simulated_operator import Operator

from scenewright.execution.jobs.resources import needs_of

STAGES = ["fit", "evaluate"]


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    with plugins(tuning="toy_fitting:TUNING"):
        yield


def tuning_run(fate: Fate = always_well, **block: Any) -> Operator:
    """An operator that is about to see a run for the first time."""
    spec = {
        "dataset": {"uri": "s3://pairs/one"},
        "output": {"uri": "s3://pairs/one/tuning_runs/fixer"},
        "tuning": block,
    }
    return Operator(Cluster(spec=spec, kind="TuningRun", samples=1, fate=fate))


def gpus(operator: Operator) -> dict[str, int]:
    """GPUs of one Pod by step, of all Jobs that are there."""
    return {job.seen.step: needs_of(job.plan, job.seen.step, PODS).gpus for job in operator.cluster.jobs.values()}


def test_a_run_goes_from_its_data_set_to_its_result() -> None:
    operator = tuning_run(processes=4, onGpu=True)
    status = operator.run()
    assert (status.phase, status.pipeline, status.progress) == ("Complete", "tuning", "2/2")
    assert [create.step for create in operator.created] == ["index", *STAGES]
    assert [create.shards for create in operator.created] == [1] * 3
    assert gpus(operator) == {"index": 0, "fit": 4, "evaluate": 0}
    assert operator.created[-1].fold_publish, "into a stage on a CPU"
    fit, evaluate = status.stages
    assert fit.gpu_seconds == 4 * 5.0, "the GPUs of all processes are accounted for"
    assert evaluate.gpu_seconds == 0.0


def test_pods_that_die_do_not_end_a_run_that_keeps_state() -> None:
    def dies_often(step: str, index: int, attempt: int) -> int:
        return 137 if step == "fit" and attempt < 12 else 0

    operator = tuning_run(dies_often)
    status = operator.run()
    assert status.phase == "Complete"
    assert [stage.shards.failed for stage in status.stages] == [0, 0]
    assert operator.cluster.jobs, "and the Job of the first attempt is the one that ended well"
    assert [create.step for create in operator.created].count("fit") == 1


def test_a_retry_runs_what_failed_again() -> None:
    operator = tuning_run()
    operator.cluster.bad_samples = frozenset({0})
    assert operator.run().phase == "Failed"
    operator.cluster.bad_samples = frozenset()
    operator.cluster.annotations = {"scenewright.io/retry": "again"}
    status = operator.run()
    assert status.phase == "Complete"
    assert [create.step for create in operator.created].count("fit") == 2


def test_an_unchanged_run_starts_no_gpu() -> None:
    operator = tuning_run(onGpu=True)
    operator.run()
    operator.cluster.status, operator.cluster.jobs, operator.cluster.pods = {}, {}, {}
    again = Operator(operator.cluster)
    assert again.run().phase == "Complete"
    assert [create.step for create in again.created] == ["index", "publish"]


def test_a_run_without_a_data_set_is_refused_with_the_field() -> None:
    operator = tuning_run()
    operator.cluster.edit(dataset={})
    operator.settle()
    (accepted,) = [each for each in operator.status.conditions if each.type == "Accepted"]
    assert accepted.status == "False" and "spec.dataset.datasetJob" in accepted.message
