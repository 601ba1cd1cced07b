"""Properties of plans: what changes keys and work hash, and what does not."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import teleport_pipeline
from hypothesis import given, settings
from hypothesis import strategies as st
from plugins import plugins

from scenewright.api.execution import Retries, effective_retries
from scenewright.api.names import API_VERSION
from scenewright.planning.backends import revisions, weights_problems
from scenewright.planning.plan import Plan, make_plan
from scenewright.planning.tasks import RunSettings, task_of, task_text
from scenewright_stages.contract.backends import Weights
from scenewright_stages.contract.params import Params
from scenewright_stages.contract.pipeline import StageModels, StageSpec
from scenewright_stages.contract.task import (
    ENVIRONMENT,
    MAXIMUM_TASK_BYTES,
    Task,
    TaskTooLargeError,
    task_environment,
    task_in,
)

BASE: dict[str, Any] = {
    "input": {"uri": "s3://photos/in"},
    "output": {"uri": "s3://scenes/out"},
    "vistadream": {"mode": "coarse"},
}


def plan_of(**changes: Any) -> Plan:
    spec = {**copy.deepcopy(BASE), **changes}
    return make_plan({"apiVersion": API_VERSION, "kind": "SceneJob", "metadata": {"name": "a"}, "spec": spec})


def changed_keys(one: Plan, other: Plan) -> set[str]:
    return {name for name in one.keys if one.keys[name] != other.keys.get(name)}


@pytest.mark.parametrize(
    ("given", "own", "effective"),
    [
        ({}, 1, (1, 3)),
        ({}, 3, (3, 4)),
        ({"perSample": 1}, 3, (1, 3)),
        ({"perSample": 5}, 1, (5, 6)),
        ({"perShard": 2}, 3, (1, 2)),
        ({"perSample": 0, "perShard": 1}, 3, (0, 1)),
    ],
)
def test_retries_that_a_manifest_leaves_out_are_the_pipelines(
    given: dict[str, int], own: int, effective: tuple[int, int]
) -> None:
    found = effective_retries(Retries(**given), own)
    assert (found.per_sample, found.per_shard) == effective


def test_a_pipeline_has_its_own_number_of_retries_and_what_says_the_same_is_the_same_work() -> None:
    scene = plan_of()
    assert (scene.retries.per_sample, scene.retries.per_shard) == (1, 3)
    assert scene.effective_object()["spec"]["execution"]["retries"] == {"perSample": 1, "perShard": 3, "passes": 2}
    spec = {"input": {"uri": "s3://photos/cup.jpg"}, "output": {"uri": "s3://sets/out"}, "referenceObject": {}}
    document = {"apiVersion": API_VERSION, "kind": "DatasetJob", "metadata": {"name": "a"}, "spec": spec}
    cup = make_plan(document)
    assert (cup.retries.per_sample, cup.retries.per_shard) == (3, 4)
    task = task_of(cup, RunSettings(run="r", holder="h"), "white")
    assert Task.model_validate_json(task_text(task)).retries == cup.retries
    # Releases before wrote the defaults into the objects themselves.
    written = plan_of(execution={"retries": {"perSample": 1, "perShard": 3}})
    assert written.work_hash == scene.work_hash
    assert plan_of(execution={"retries": {"perSample": 2}}).work_hash != scene.work_hash


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({"vistadream": {"mode": "coarse", "coarse": {"frames": 4}}}, {"coarse", "render"}),
        ({"vistadream": {"mode": "coarse", "render": {"maxFrames": 4}}}, {"render"}),
        ({"vistadream": {"mode": "coarse", "coarse": {"frames": 10}}}, set()),
        ({"vistadream": {"mode": "coarse", "initialize": {"iterations": 5}}}, {"initialize", "coarse", "render"}),
        ({"execution": {"seed": 7}}, {"outpaint", "depth", "initialize", "coarse", "render"}),
        ({"execution": {"maxParallelism": 3, "samplesPerShard": 2}}, set()),
        ({"output": {"uri": "s3://scenes/other"}}, set()),
        (
            {
                "execution": {"stageOverrides": {"coarse": {"backend": "flux-fill"}}},
                "models": {"acceptLicenses": ["flux-1-dev-non-commercial"]},
            },
            {"coarse", "render"},
        ),
    ],
)
def test_only_dependents_of_a_change_get_new_keys(changes: dict[str, Any], stages: set[str]) -> None:
    assert changed_keys(plan_of(), plan_of(**changes)) == stages


@pytest.mark.parametrize(
    "changes",
    [
        {"input": {"uri": "s3://photos/other"}},
        {"input": {"uri": "s3://photos/in", "select": {"limit": 3}}},
        {"output": {"uri": "s3://scenes/out", "prune": False}},
        {"vistadream": {"mode": "coarse", "coarse": {"frames": 4}}},
        {"execution": {"seed": 1}},
        {"execution": {"stages": {"startFrom": "coarse"}}},
        {"execution": {"samplesPerShard": 3}},
        {"execution": {"retries": {"passes": 0}}},
        {"execution": {"onSampleError": "Fail"}},
        {"execution": {"retryToken": "2"}},
        {"models": {"acceptLicenses": ["mit"]}},
    ],
)
def test_the_work_hash_covers_all_that_decides_what_is_made(changes: dict[str, Any]) -> None:
    assert plan_of(**changes).work_hash != plan_of().work_hash


@pytest.mark.parametrize(
    "changes",
    [
        {"suspend": True},
        {"ttlSecondsAfterFinished": 60},
        {"execution": {"maxParallelism": 3, "startDeadlineSeconds": 60}},
        {"scheduling": {"priorityClassName": "high", "queueName": "lab"}},
        {"vistadream": {"mode": "coarse", "coarse": {"frames": 10}}},
        {"execution": {"retries": {"passes": 2}}},
    ],
)
def test_what_only_says_how_starts_no_run(changes: dict[str, Any]) -> None:
    assert plan_of(**changes).work_hash == plan_of().work_hash


def test_another_revision_of_weights_changes_the_key_of_the_stage_that_runs_them() -> None:
    raw = {"apiVersion": API_VERSION, "kind": "SceneJob", "metadata": {"name": "a"}, "spec": copy.deepcopy(BASE)}
    raw["spec"]["vistadream"]["depth"] = {"backend": "moge"}
    old, new = make_plan(raw, lambda weights: "abc"), make_plan(raw, lambda weights: "def")
    assert "depth" in changed_keys(old, new)
    assert "outpaint" not in changed_keys(old, new)


def test_a_backend_of_several_sets_has_all_their_revisions_in_the_key() -> None:
    stages = teleport_pipeline.PIPELINE.stages(teleport_pipeline.TeleportParams(backends=["pair", "walk"]))
    with plugins(teleport="teleport_pipeline:PIPELINE"):
        assert revisions(stages) == {"teleport/pair": "lab/sender@v1+lab/receiver@main", "teleport/walk": ""}
        local = revisions(stages, lambda weights: f"local-{weights.id[-1]}")
    assert local["teleport/pair"] == "lab/sender@local-r+lab/receiver@local-r"


def test_other_weights_at_the_place_that_a_spec_names_change_the_keys_of_its_stages() -> None:
    raw = {"apiVersion": API_VERSION, "kind": "DatasetJob", "metadata": {"name": "a"}, "spec": copy.deepcopy(BASE)}
    del raw["spec"]["vistadream"]
    raw["spec"]["referenceObject"] = {"annotate": {"backend": "persam", "variant": "vit-b", "revision": "/mine/sam"}}
    asked: list[str] = []

    def found(weights: Weights, content: str) -> str:
        asked.append(weights.revision)
        return f"local-{content}" if weights.location else "abc"

    old, new = (make_plan(raw, lambda weights, content=each: found(weights, content)) for each in ("1", "2"))
    assert {"annotate", "augment"} == set(changed_keys(old, new))
    assert "/mine/sam" in asked
    raw["spec"]["referenceObject"]["annotate"]["revision"] = "v2"
    old, new = (make_plan(raw, lambda weights, content=each: found(weights, content)) for each in ("1", "2"))
    assert not changed_keys(old, new)


def test_a_backend_of_one_set_is_in_the_key_as_ever() -> None:
    plan = plan_of(vistadream={"mode": "coarse", "depth": {"backend": "moge"}})
    found = revisions(plan.chain)
    assert (found["depth/moge"], found["inpaint/classic"]) == ("Ruicheng/moge-vitl@main", "")


def test_an_override_equals_the_parameter_that_it_stands_for() -> None:
    overridden = plan_of(execution={"stageOverrides": {"depth": {"backend": "moge"}}})
    written = plan_of(vistadream={"mode": "coarse", "depth": {"backend": "moge"}})
    assert overridden.keys == written.keys
    assert overridden.work_hash == written.work_hash
    assert overridden.effective_object()["spec"]["vistadream"]["depth"]["backend"] == "moge"


@pytest.mark.parametrize(
    ("stages", "selected"),
    [
        ({}, ("outpaint", "depth", "initialize", "coarse", "render")),
        ({"startFrom": "coarse"}, ("coarse", "render")),
        ({"only": ["render", "depth"]}, ("depth", "render")),
    ],
)
def test_selected_stages_come_in_the_order_of_the_chain(stages: dict[str, Any], selected: tuple[str, ...]) -> None:
    assert plan_of(execution={"stages": stages}).selected == selected


def test_tasks_survive_their_environment_variable_and_fit_into_it() -> None:
    prompt = "é" * 2000
    plan = plan_of(
        vistadream={"mode": "coarse", "outpaint": {"prompt": prompt}, "coarse": {"inpaint": {"prompt": prompt}}},
        models={"acceptLicenses": ["x" * 64] * 32},
    )
    task = task_of(plan, RunSettings(run="r", holder="h", retry_failed=True), "coarse", shards=3, fold_publish=True)
    text = task_text(task)
    assert len(text.encode()) < MAXIMUM_TASK_BYTES
    assert Task.model_validate_json(text) == task
    assert (task.step, task.shards, task.fold_publish, task.retry_failed) == ("coarse", 3, True, True)


@pytest.mark.parametrize("words", [1, 40, 400, 4_000, 20_000])
def test_a_task_of_any_length_survives_its_environment(words: int) -> None:
    """1,500 host names, or 200 splits of 128 characters, are more than one variable takes as plain text."""
    random = Random(words)
    text = " ".join(f"{random.getrandbits(64):x}.lab.example.org" for _ in range(words))
    environment = task_environment(text)
    assert task_in({**environment, "OTHER": "x"}) == text
    assert all(len(f"{name}={value}") < 128 * 1024 for name, value in environment.items()), "what Linux allows"
    assert (list(environment) == [ENVIRONMENT]) == (len(text) <= MAXIMUM_TASK_BYTES)


def test_a_task_that_no_environment_takes_is_refused_by_size() -> None:
    text = Random(0).randbytes(600_000).hex()
    with pytest.raises(TaskTooLargeError, match="when compressed"):
        task_environment(text)


def test_a_damaged_task_says_so() -> None:
    environment = task_environment(" ".join(f"host-{number}.example.org" for number in range(4_000)))
    with pytest.raises(ValueError, match="SCENEWRIGHT_TASK"):
        task_in({**environment, f"{ENVIRONMENT}_0": environment[f"{ENVIRONMENT}_0"][:-8]})


def test_a_stage_is_named_once_though_two_of_its_backends_need_the_same_weights(tmp_path: Path) -> None:
    both = {"inpaint": "flux-fill", "outpaint": "flux-fill"}
    stages = [
        StageSpec(
            name,
            1,
            "a:B",
            (),
            (),
            models=StageModels(backends=both),
        )
        for name in ("first", "second", "third")
    ]
    accepted = ["flux-1-dev-non-commercial"]
    (problem,) = weights_problems(stages, Params(), ["first"], accepted, tmp_path)
    assert problem.remedy.endswith("; stage first needs it")
    (problem,) = weights_problems(stages, Params(), ["third", "first"], accepted, tmp_path)
    assert problem.remedy.endswith("; stages first and third need it")


@given(frames=st.integers(1, 100), seed=st.integers(0, 2**53 - 1))
@settings(max_examples=50, deadline=None)
def test_equal_specs_give_equal_plans(frames: int, seed: int) -> None:
    changes = {"vistadream": {"mode": "coarse", "coarse": {"frames": frames}}, "execution": {"seed": seed}}
    one, other = plan_of(**changes), plan_of(**copy.deepcopy(changes))
    assert (one.keys, one.work_hash, one.selected) == (other.keys, other.work_hash, other.selected)


def test_weights_are_absent_only_where_no_fallback_of_a_stage_has_its_own(tmp_path: Path) -> None:
    def absent(*names: str, accepted: Sequence[str] = ("sam-license",)) -> list[str]:
        chosen, others = {"segment": names[0]}, {"segment": names[1:]}
        stage = StageSpec(
            "segment",
            1,
            "a:B",
            (),
            (),
            models=StageModels(backends=chosen, alternatives=others),
        )
        problems = weights_problems([stage], Params(), ["segment"], accepted, tmp_path)
        return [found for problem in problems for found in re.findall("`(.*)`", problem.remedy)]

    fetch = "scenewright models --fetch"
    assert absent("sam3") == absent("sam3", "sam2") == [f"{fetch} facebook/sam3 --accept sam-license"]
    assert absent("sam3", "mask") == absent("mask") == []
    assert absent("sam3", "sam2", accepted=()) == [f"{fetch} facebook/sam2.1-hiera-large"]
