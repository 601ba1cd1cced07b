"""Named inputs: what an object refers to, and how a reference becomes a place and a hash of the run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from plugins import plugins

from scenewright.api.names import API_VERSION
from scenewright.planning.inputs import ObjectReference, ResolvedInput
from scenewright.planning.plan import Plan, make_plan
from scenewright.planning.tasks import RunSettings, task_of
from scenewright_stages.contract.pipeline import NamedInput
from scenewright_stages.contract.task import TaskNamedInput


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    with plugins(fitting="toy_fitting:FITTING", tuning="toy_fitting:TUNING"):
        yield


def plan_of(kind: str, **spec: Any) -> Plan:
    spec = {"output": {"uri": "s3://models/out"}, **spec}
    return make_plan({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "a"}, "spec": spec})


def fitting(**block: Any) -> Plan:
    return plan_of("SceneJob", input={"uri": "s3://photos/in"}, fitting=block)


def tuning(**dataset: str) -> Plan:
    return plan_of("TuningRun", dataset=dataset, tuning={})


def inputs_of(plan: Plan) -> dict[str, TaskNamedInput]:
    return task_of(plan, RunSettings(run="r", holder="h"), "fit").inputs


def test_a_uri_of_the_block_is_an_input_of_the_task_without_a_hash() -> None:
    plan = fitting(checkpointUri="s3://models/base")
    assert plan.references() == {}
    wanted = TaskNamedInput(uri="s3://models/base", include=["*.pt"], field="spec.fitting.checkpointUri")
    assert inputs_of(plan) == {"checkpoint": wanted}


def test_a_reference_is_left_out_until_it_is_resolved_to_one_of_the_files_that_are_offered() -> None:
    plan = fitting(tuningRun="fixer")
    assert plan.references() == {"checkpoint": ObjectReference("TuningRun", "fixer")}
    assert str(plan.references()["checkpoint"]) == "TuningRun/fixer"
    assert inputs_of(plan) == {}
    (wanted,) = plan.inputs
    resolved = ResolvedInput.of(wanted, "s3://models/fixer", "whole", {"best": "checkpoints/3@x.pt@abc"})
    assert resolved == ResolvedInput("s3://models/fixer", "abc", "checkpoints/3@x.pt")
    with pytest.raises(KeyError, match="best"):
        ResolvedInput.of(wanted, "s3://models/fixer", "whole", {})
    assert ResolvedInput.of(NamedInput("set"), "s3://sets/a", "whole", {}) == ResolvedInput("s3://sets/a", "whole")
    task = inputs_of(plan.with_resolved({"checkpoint": resolved}))["checkpoint"]
    assert (task.uri, task.path, task.hash) == ("s3://models/fixer", "checkpoints/3@x.pt", "abc")


def test_what_an_input_holds_is_part_of_the_keys_of_the_run_and_not_of_the_work_hash() -> None:
    plan = fitting(tuningRun="fixer")
    one, two = (plan.with_resolved({"checkpoint": ResolvedInput("s3://m", digest)}) for digest in "ab")
    assert len({each.keys["fit"] for each in (plan, one, two)}) == 3
    assert {each.keys["apart"] for each in (one, two)} == {plan.keys["apart"]}
    assert one.work_hash == two.work_hash == plan.work_hash != fitting(tuningRun="other").work_hash


def test_the_data_set_of_a_tuning_run_is_its_first_input() -> None:
    by_name, by_uri = tuning(datasetJob="pairs"), tuning(uri="s3://sets/pairs")
    assert by_name.references() == {"dataset": ObjectReference("DatasetJob", "pairs")}
    assert by_name.inputs[0].field == "spec.dataset.datasetJob"
    assert by_uri.references() == {} and by_uri.input_uri == ""
    assert inputs_of(by_uri) == {"dataset": TaskNamedInput(uri="s3://sets/pairs", field="spec.dataset.uri")}
    assert task_of(by_uri, RunSettings(run="r", holder="h"), "fit").input is None
    assert by_name.work_hash != by_uri.work_hash
