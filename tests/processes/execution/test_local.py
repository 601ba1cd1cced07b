"""The local executor follows the same exit-code policy as the cluster's Jobs; processes are scripted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scenewright.execution.devices import GPU_VARIABLE, available_gpus, gpu_slots
from scenewright.execution.events import PassStarted, Retried, StepFinished, StepUpToDate
from scenewright.execution.outcomes import explanation, verdict
from scenewright_stages.backends.runtime.cache.weights import CACHE_VARIABLE
from scenewright_stages.contract.pipeline import SecretKey, StagePod

STAGES = ["outpaint", "depth", "initialize", "render"]
MOGE = "Ruicheng/moge-vitl"
Scripted = Callable[..., Any]


def test_the_index_is_a_process_of_its_own_and_publish_folds_into_the_last_stage(scripted: Scripted) -> None:
    ran = scripted()
    assert ran.steps == ["index", *STAGES]
    assert [line["foldPublish"] for line in ran.processes] == [False, False, False, False, True]
    assert ran.outcome.exit_code == 0
    finished = [event.step for event in ran.events if isinstance(event, StepFinished)]
    assert finished == ["index", *STAGES, "publish"]


def test_nothing_to_do_starts_no_further_stage_but_publishes(scripted: Scripted) -> None:
    ran = scripted({"index": [{"todo": dict.fromkeys(STAGES, 0)}]})
    assert ran.steps == ["index", "publish"]
    assert [event.step for event in ran.events if isinstance(event, StepUpToDate)] == STAGES


def test_selected_stages_alone_are_started(scripted: Scripted) -> None:
    ran = scripted(execution={"stages": {"only": ["depth"]}})
    assert ran.steps == ["index", "depth"]
    assert ran.processes[1]["foldPublish"]


def test_every_shard_is_run_and_publish_is_a_process_of_its_own_then(scripted: Scripted) -> None:
    ran = scripted({"index": [{"todo": {"outpaint": 1, "depth": 1, "initialize": 1, "render": 3}}]})
    assert ran.steps == ["index", *STAGES[:3], "render", "render", "render", "publish"]
    assert [line["shard"] for line in ran.processes[4:7]] == [0, 1, 2]


@pytest.fixture
def with_moge(tmp_path: Path) -> dict[str, Any]:
    """Changes of a run that put depth, and what comes after it, on a GPU; the weights are there."""
    (tmp_path / "models" / MOGE).mkdir(parents=True)
    (tmp_path / "models" / MOGE / "model.pt").touch()
    return {"vistadream": {"depth": {"backend": "moge"}}, "variables": {CACHE_VARIABLE: str(tmp_path / "models")}}


def test_publish_never_holds_a_gpu(scripted: Scripted, with_moge: dict[str, Any]) -> None:
    assert scripted(**with_moge).steps == ["index", *STAGES, "publish"]


@pytest.mark.parametrize(("processes_per_gpu", "meeting"), [(1, 2), (2, 4)])
def test_as_many_shards_run_at_once_as_share_the_gpus(
    scripted: Scripted, with_moge: dict[str, Any], processes_per_gpu: int, meeting: int
) -> None:
    """Each process of the stage waits until as many have begun, so fewer at once would fail the run."""
    with_moge["variables"][GPU_VARIABLE] = "4,7"
    todo = {"index": [{"todo": {"outpaint": 0, "depth": 4, "initialize": 0, "render": 0}}]}
    ran = scripted({**todo, "depth": [{"meet": meeting}]}, processes_per_gpu=processes_per_gpu, **with_moge)
    assert (ran.outcome.exit_code, ran.steps) == (0, ["index", *["depth"] * 4, "publish"])
    assert sorted(line[GPU_VARIABLE] for line in ran.processes[1:5]) == ["4", "4", "7", "7"]


@pytest.mark.parametrize(
    ("devices", "environment", "expected"),
    [
        ([], {}, []),
        (["nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"], {}, ["0", "1"]),
        (["nvidia6", "nvidia7", "nvidiactl"], {}, ["0", "1"]),
        (["nvidia0", "nvidia1"], {GPU_VARIABLE: "1"}, ["1"]),
        (["nvidia0"], {GPU_VARIABLE: "GPU-5f, GPU-7a"}, ["GPU-5f", "GPU-7a"]),
        (["nvidia0"], {GPU_VARIABLE: ""}, []),
    ],
)
def test_gpus_are_those_named_else_all_that_a_container_has_counted_from_nought(
    tmp_path: Path, devices: list[str], environment: dict[str, str], expected: list[str]
) -> None:
    for name in devices:
        (tmp_path / name).touch()
    assert available_gpus(environment, tmp_path) == expected


@pytest.mark.parametrize(
    ("gpus", "each", "at_most", "sharing", "expected"),
    [
        ("", 1, 16, 6, [None]),
        ("0", 0, 16, 6, [None]),
        ("0", 1, 16, 1, ["0"]),
        ("0", 1, 16, 3, ["0", "0", "0"]),
        ("01", 1, 16, 2, ["0", "1", "0", "1"]),
        ("01", 1, 3, 2, ["0", "1", "0"]),
        ("01", 1, 1, 2, ["0"]),
        ("0123", 2, 16, 2, ["0,1", "2,3"]),
        ("012", 2, 16, 1, ["0,1"]),
        ("0", 2, 16, 6, [None]),
    ],
)
def test_slots_share_gpus_only_where_a_process_needs_one(
    gpus: str, each: int, at_most: int, sharing: int, expected: list[str | None]
) -> None:
    slots = gpu_slots(list(gpus), each, at_most, sharing)
    assert [slot.get(GPU_VARIABLE) for slot in slots] == expected


@pytest.mark.parametrize("end", [{"exit": 1}, {"signal": 9}, {"exit": 30}, {"exit": 137}])
def test_a_process_that_ends_early_is_started_again(scripted: Scripted, end: dict[str, int]) -> None:
    ran = scripted({"depth": [end, end, {}]})
    assert ran.steps == ["index", "outpaint", "depth", "depth", "depth", "initialize", "render"]
    assert [event.attempts_left for event in ran.events if isinstance(event, Retried)] == [3, 2]
    assert ran.outcome.exit_code == 0


def test_a_shard_is_given_up_after_its_retries_and_the_chain_continues(scripted: Scripted) -> None:
    ran = scripted({"depth": [{"exit": 1}]}, execution={"retries": {"perSample": 0, "perShard": 1}})
    assert ran.steps == ["index", "outpaint", "depth", "depth", "initialize", "render"]


def test_a_process_that_keeps_state_may_die_more_often_than_shards_are_retried(scripted: Scripted) -> None:
    dying = {"depth": [*[{"exit": 1}] * 6, {}]}
    retries = {"execution": {"retries": {"perSample": 0, "perShard": 1}}}
    assert scripted(dying, of_depth={"keeps_state": True}, **retries).steps.count("depth") == 7


def test_a_run_does_not_begin_without_a_secret_that_one_of_its_stages_needs(scripted: Scripted) -> None:
    needing = {"pod": StagePod(secret=SecretKey("language-model", "token", "LANGUAGE_MODEL_TOKEN"))}
    ran = scripted(of_depth=needing, variables={"LANGUAGE_MODEL_TOKEN": ""})
    assert (ran.steps, ran.outcome.exit_code, ran.outcome.reason) == ([], 10, "SecretMissing")
    assert [str(problem) for problem in ran.outcome.problems] == [
        "LANGUAGE_MODEL_TOKEN: set this environment variable: stage depth needs it"
    ]
    assert scripted(of_depth=needing, variables={"LANGUAGE_MODEL_TOKEN": "x"}).outcome.exit_code == 0
    apart = {"execution": {"stages": {"only": ["render"]}}}
    assert scripted(of_depth=needing, **apart).outcome.exit_code == 0, "a stage that does not run needs none"


def test_a_run_ends_before_its_first_stage_if_a_later_one_lacks_weights(scripted: Scripted, tmp_path: Path) -> None:
    empty = {CACHE_VARIABLE: str(tmp_path / "models")}
    with_model: dict[str, Any] = {"vistadream": {"depth": {"backend": "moge"}}, "variables": empty}
    ran = scripted(**with_model)
    assert (ran.steps, ran.outcome.exit_code, ran.outcome.reason) == (["index"], 10, "WeightsMissing")
    (problem,) = ran.outcome.problems
    assert str(problem).startswith(f"model cache: '{tmp_path / 'models'}': lacks model.pt of {MOGE}")
    assert str(problem).endswith("; stage depth needs it")
    done = {"index": [{"todo": {"outpaint": 1, "depth": 0, "initialize": 1, "render": 1}}]}
    assert scripted(done, **with_model).outcome.exit_code == 0, "a stage without work needs none"
    apart = {"execution": {"stages": {"only": ["render"]}}}
    assert scripted(**with_model, **apart).outcome.exit_code == 0, "a stage that is not selected needs none"


def test_a_lost_shard_is_not_tried_again(scripted: Scripted) -> None:
    assert scripted({"depth": [{"exit": 21}]}).steps == ["index", "outpaint", "depth", "initialize", "render"]


def test_a_configuration_error_ends_the_run_and_names_the_field(scripted: Scripted) -> None:
    report = {"reason": "ConfigurationError", "outputs": {"field": "spec.x", "value": "1", "remedy": "use 2"}}
    ran = scripted({"depth": [{"exit": 10, "report": report}]})
    assert ran.steps == ["index", "outpaint", "depth"]
    assert ran.outcome.exit_code == 10
    assert [str(problem) for problem in ran.outcome.problems] == ["spec.x: 1: use 2"]


@pytest.mark.parametrize(("code", "reason"), [(20, "SampleFailed"), (10, "TooManyFailures")])
def test_failed_samples_that_end_the_run_are_no_refusal(scripted: Scripted, code: int, reason: str) -> None:
    ran = scripted({"depth": [{"exit": code, "report": {"reason": reason, "message": "x"}}]})
    assert ran.steps == ["index", "outpaint", "depth"]
    assert (ran.outcome.exit_code, ran.outcome.reason) == (1, reason)


def test_missing_samples_start_another_pass_of_the_same_run(scripted: Scripted) -> None:
    ran = scripted({"render": [{"final": {"render": {"missing": 1}}}, {}]})
    assert ran.steps == ["index", *STAGES, "index", *STAGES]
    assert {line["run"] for line in ran.processes} == {"run-1"}
    assert [event.number for event in ran.events if isinstance(event, PassStarted)] == [2]
    assert ran.outcome.exit_code == 0


def test_passes_are_bounded_and_end_as_samples_missing(scripted: Scripted) -> None:
    ran = scripted(
        {"depth": [{"final": {"depth": {"missing": 2}}}]},
        execution={"stages": {"only": ["depth"]}, "retries": {"passes": 1}},
    )
    assert ran.steps == ["index", "depth", "index", "depth"]
    assert (ran.outcome.exit_code, ran.outcome.reason) == (1, "SamplesMissing")


def test_failed_samples_are_asked_for_in_the_first_pass_only(scripted: Scripted) -> None:
    ran = scripted({"render": [{"final": {"render": {"missing": 1}}}, {}]}, retry_failed=True)
    assert [line["retryFailed"] for line in ran.processes if line["step"] == "index"] == [True, False]


def test_failed_samples_give_exit_code_1(scripted: Scripted) -> None:
    outcome = scripted({"render": [{"final": {"depth": {"failed": 1}, "outpaint": {"done": 1}}}]}).outcome
    assert (outcome.exit_code, outcome.reason) == (1, "SamplesFailed")


def test_thread_counts_are_fixed_by_the_environment(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    (line, *_) = scripted().processes
    assert line["OMP_NUM_THREADS"] == "7"
    assert int(line["NUMBA_NUM_THREADS"]) >= 1


def test_nothing_is_left_in_the_temporary_folder(scripted: Scripted, tmp_path: Any) -> None:
    scripted()
    assert not list(tmp_path.glob("scenewright-run-*"))


@pytest.mark.parametrize(
    ("code", "attempt", "expected"),
    [
        (0, 1, "done"),
        (10, 1, "fail"),
        (20, 1, "fail"),
        (21, 1, "lost"),
        (1, 1, "retry"),
        (1, 3, "retry"),
        (1, 4, "lost"),
        (-9, 1, "retry"),
        (143, 1, "retry"),
        (30, 4, "lost"),
    ],
)
def test_verdicts_are_those_of_the_pod_failure_policy(code: int, attempt: int, expected: str) -> None:
    assert verdict(code, attempt, retries_per_shard=3) == expected


@pytest.mark.parametrize(
    ("code", "text"),
    [(-9, "killed by SIGKILL"), (137, "killed by SIGKILL"), (21, "cannot continue"), (3, "exit code 3")],
)
def test_exit_codes_are_explained(code: int, text: str) -> None:
    assert text in explanation(code)
