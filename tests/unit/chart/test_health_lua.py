"""health.lua, run by a Lua 5.1 interpreter as in Argo CD."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from chart_rendering import CHART

from scenewright.api.status import Phase

lua51 = pytest.importorskip("lupa.lua51", reason="lupa is missing: pip install lupa")
SCRIPT = (CHART / "files/argocd/health.lua").read_text()
EXPECTED = {
    "Pending": "Progressing",
    "Waiting": "Progressing",
    "Indexing": "Progressing",
    "Running": "Progressing",
    "Publishing": "Progressing",
    "Suspended": "Suspended",
    "Complete": "Healthy",
    "Failed": "Degraded",
}


def table(runtime: Any, value: Any) -> Any:
    """A Python value as Lua sees parsed JSON."""
    if isinstance(value, dict):
        return runtime.table_from({key: table(runtime, each) for key, each in value.items()})
    if isinstance(value, list):
        return runtime.table_from([table(runtime, each) for each in value])
    return value


def health(obj: dict[str, Any]) -> tuple[str, str]:
    """Status and message that Argo CD would show."""
    runtime = lua51.LuaRuntime(unpack_returned_tuples=True)
    runtime.globals().obj = table(runtime, obj)
    result = runtime.execute(SCRIPT)
    return str(result["status"]), str(result["message"])


def scene(phase: str, **changes: Any) -> dict[str, Any]:
    status = {"phase": phase, "observedGeneration": 3, "stage": "coarse", "progress": "37/96", "conditions": []}
    return {
        "metadata": {"name": "courtyard", "generation": 3},
        "spec": {},
        "status": {**status, **changes},
    }


def true(kind: str, reason: str, message: str) -> dict[str, Any]:
    return {"type": kind, "status": "True", "reason": reason, "message": message}


def test_the_table_has_every_phase() -> None:
    assert set(EXPECTED) == set(get_args(Phase))


@pytest.mark.parametrize("phase", EXPECTED)
def test_health_of_every_phase(phase: str) -> None:
    assert health(scene(phase))[0] == EXPECTED[phase]


@pytest.mark.parametrize("phase", EXPECTED)
def test_no_phase_counts_while_the_operator_is_behind(phase: str) -> None:
    assert health(scene(phase, observedGeneration=2))[0] == "Progressing"


@pytest.mark.parametrize("status", [None, {}], ids=["none", "empty"])
def test_a_new_object_is_not_healthy(status: dict[str, Any] | None) -> None:
    obj: dict[str, Any] = {"metadata": {"name": "courtyard", "generation": 1}, "spec": {}}
    if status is not None:
        obj["status"] = status
    assert health(obj) == ("Progressing", "waits for the operator")


def test_a_status_without_generation_is_behind() -> None:
    obj = scene("Complete")
    del obj["status"]["observedGeneration"]
    assert health(obj)[0] == "Progressing"


def test_a_failure_is_reported_with_its_reason() -> None:
    conditions = [
        {"type": "Complete", "status": "False"},
        true("Failed", "SamplesMissing", "3 samples have no record after 2 passes"),
    ]
    assert health(scene("Failed", conditions=conditions)) == (
        "Degraded",
        "SamplesMissing: 3 samples have no record after 2 passes",
    )


def test_waiting_tells_for_what_and_running_how_far() -> None:
    waiting = scene("Waiting", conditions=[true("Waiting", "OutputBusy", "SceneJob lab/a writes there")])
    assert health(waiting) == ("Progressing", "OutputBusy: SceneJob lab/a writes there")
    assert health(scene("Running")) == ("Progressing", "Running coarse 37/96")


def test_what_rests_at_its_budget_is_suspended() -> None:
    resting = scene("Waiting", conditions=[true("Waiting", "BudgetReached", "40 GPU hours are used")])
    assert health(resting) == ("Suspended", "BudgetReached: 40 GPU hours are used")


def test_what_waits_for_a_persons_choice_is_suspended_until_a_retry() -> None:
    waiting = scene("Waiting", conditions=[true("Waiting", "AwaitingSelection", "2 samples wait")], retryTokens=["1"])
    waiting["status"]["effective"] = {"workHash": "00ff00ff00ff00ff"}
    waiting["metadata"]["annotations"] = {"scenewright.io/retry": "1"}
    assert health(waiting) == ("Suspended", "AwaitingSelection: 2 samples wait")
    waiting["metadata"]["annotations"] = {"scenewright.io/retry": "2"}
    assert health(waiting)[0] == "Progressing"


@pytest.mark.parametrize("phase", ["Complete", "Failed"])
@pytest.mark.parametrize(
    ("annotation", "token", "seen", "expected"),
    [
        ("2", "", [], "Progressing"),
        ("2", "", ["1"], "Progressing"),
        ("2", "", ["1", "2"], ""),
        ("1", "", ["1", "2"], ""),
        ("", "a", ["a"], ""),
        ("2", "a", ["a"], "Progressing"),
        ("2", "a", ["a", "a+2"], ""),
        ("x" * 64, "", [], ""),
    ],
)
def test_a_fresh_retry_is_progressing_and_one_that_was_seen_is_over(
    phase: str, annotation: str, token: str, seen: list[str], expected: str
) -> None:
    obj = scene(phase, retryTokens=seen, effective={"workHash": "00ff00ff00ff00ff"})
    obj["metadata"]["annotations"] = {"scenewright.io/retry": annotation}
    obj["spec"]["execution"] = {"retryToken": token}
    assert health(obj)[0] == (expected or EXPECTED[phase])


def test_a_refused_object_that_is_asked_to_try_again_stays_degraded() -> None:
    obj = scene("Failed", conditions=[true("Failed", "InvalidSpec", "spec.input.uri: must be ...")])
    obj["metadata"]["annotations"] = {"scenewright.io/retry": "2"}
    assert health(obj)[0] == "Degraded"


def test_a_finished_object_that_is_suspended_later_stays_healthy() -> None:
    obj = scene("Complete")
    obj["spec"]["suspend"] = True
    assert health(obj)[0] == "Healthy"


@pytest.mark.parametrize(
    ("accepted", "phase", "expected"),
    [
        (True, "Running", "Healthy"),
        (True, "Waiting", "Healthy"),
        (False, "Running", "Progressing"),
        (True, "Failed", "Degraded"),
        (True, "Suspended", "Suspended"),
    ],
)
def test_an_annotation_makes_running_jobs_healthy_but_hides_nothing(accepted: bool, phase: str, expected: str) -> None:
    conditions = [true("Accepted", "Valid", "")] if accepted else []
    obj = scene(phase, conditions=conditions)
    obj["metadata"]["annotations"] = {"scenewright.io/healthy-while-running": "true"}
    assert health(obj)[0] == expected
