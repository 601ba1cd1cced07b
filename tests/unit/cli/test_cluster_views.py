"""Objects in a cluster as the command line shows them: references, what a status says, pictures of it."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from rich.console import Console

from scenewright.api.status import Phase, StageStatus, Status
from scenewright.cli.cluster import pictures
from scenewright.cli.cluster.access import Reference, is_reference, parse
from scenewright.cli.cluster.views import ObjectView, exit_code, plain_lines, summary, view_of
from scenewright.planning.problems import SpecError

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def minutes_ago(minutes: float) -> str:
    return (NOW - timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def scene(name: str = "courtyard", generation: int = 2, **status: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "lab", "generation": generation, "creationTimestamp": minutes_ago(47)}
    known = {"observedGeneration": 2, "pipeline": "vistadream", **status} if status else {}
    return {"kind": "SceneJob", "metadata": metadata, "spec": {"vistadream": {}}, "status": known}


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


def running() -> dict[str, Any]:
    return scene(
        phase="Running",
        stage="coarse",
        progress="37/96",
        failed=2,
        rate="3.2/min",
        run="ab12cd34-1",
        conditions=[
            condition("Accepted", "True", "Accepted"),
            condition("Progressing", "True", "RunningStage", "coarse"),
        ],
        stages=[
            {"name": "index", "state": "Done", "samples": {"total": 96, "done": 96}},
            {"name": "depth", "state": "UpToDate", "samples": {"total": 96, "done": 94, "failed": 2}},
            {
                "name": "coarse",
                "state": "Running",
                "samples": {"total": 94, "done": 37, "skipped": 2},
                "shards": {"total": 12, "running": 4, "done": 3},
                "startedAt": minutes_ago(12),
                "eta": minutes_ago(-18),
                "samplesPerMinute": 3.2,
                "gpuSeconds": 2800.0,
            },
            {"name": "render", "state": "Pending", "samples": {"total": 94}},
        ],
        failures=[{"sample": "IMG_2041", "stage": "depth", "reason": "OutOfMemory", "message": "did not fit"}],
        warnings=["depth is a stated prior"],
        outputs={"results": "s3://scenes/out", "report": ""},
    )


def view(raw: dict[str, Any]) -> ObjectView:
    return view_of(raw, NOW)


def drawn(renderable: Any, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("word", ["scenejob", "SceneJob", "scenejobs", "scene", "scenejobs.scenewright.io"])
def test_every_name_of_a_kind_names_it(word: str) -> None:
    assert parse(f"{word}/courtyard") == Reference("SceneJob", "courtyard")


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("courtyard", "must be KIND/NAME"),
        ("scenejob/", "must be KIND/NAME"),
        ("scenejob/Court_Yard", "must be KIND/NAME"),
        ("scenejbo/courtyard", "did you mean 'scenejob'?"),
    ],
)
def test_what_is_no_reference_is_refused_with_a_remedy(text: str, remedy: str) -> None:
    with pytest.raises(SpecError, match=remedy.replace("?", r"\?")):
        parse(text)


def test_a_file_wins_over_a_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_reference("scene/a")
    assert not is_reference("results/a")
    (tmp_path / "scene").mkdir()
    (tmp_path / "scene" / "a").touch()
    assert not is_reference("scene/a")


def test_a_running_object_in_plain_lines() -> None:
    assert plain_lines(view(running())) == [
        "SceneJob lab/courtyard: Running, 37/96 done, 2 failed, 3.2/min, 46 min 40 s of GPU time",
        "RunningStage: coarse",
        "  index: done, 96/96 done",
        "  depth: up to date, 94/96 done, 2 failed",
        "  coarse: running, 37/94 done, 2 skipped, 4 of 12 shards running, 5 to come, 3.2/min, 18 min 00 s left, "
        "12 min 00 s",
        "  render: pending, 0/94 done",
        "warning: depth is a stated prior",
        "failed: IMG_2041: depth: OutOfMemory: did not fit",
        "results: s3://scenes/out",
    ]


def test_a_run_that_no_operator_has_seen_is_known_by_its_trainer_block() -> None:
    raw = {**scene("fixer"), "kind": "TuningRun", "spec": {"dataset": {"uri": "s3://p"}, "output": {}, "tuning": {}}}
    assert (view(raw).pipeline, view(raw).reference) == ("tuning", "tuningrun/fixer")


def test_numbers_of_a_stage_are_in_lines_and_in_the_picture() -> None:
    raw = running()
    raw["status"]["stages"][2]["numbers"] = {"loss": 0.0123456, "step": 1200.0}
    (line,) = [line for line in plain_lines(view(raw)) if line.startswith("  coarse")]
    assert line.endswith(", loss 0.01235, step 1200")
    assert "loss 0.01235 · step 1200" in drawn(pictures.picture(view(raw)), 200)


@pytest.mark.parametrize(
    ("conditions", "phase", "expected"),
    [
        (
            [condition("Failed", "True", "SamplesMissing", "3 are"), condition("Progressing", "True", "X")],
            "Failed",
            "3 are",
        ),
        (
            [condition("Accepted", "False", "InvalidSpec", "spec.x: 1"), condition("Failed", "True", "I")],
            "Failed",
            "spec.x: 1",
        ),
        (
            [condition("Waiting", "True", "OutputBusy", "lab/a"), condition("Complete", "False", "X", "no")],
            "Waiting",
            "lab/a",
        ),
        ([condition("Complete", "False", "NotFinished", "no")], "Pending", ""),
    ],
)
def test_the_condition_that_explains_the_phase_is_reported(
    conditions: list[dict[str, str]], phase: str, expected: str
) -> None:
    assert view(scene(phase=phase, conditions=conditions)).message == expected


def test_an_end_counts_only_for_the_spec_that_is_there_now() -> None:
    failed = scene(phase="Failed")
    assert (view(failed).ended, exit_code(view(failed))) == (True, 1)
    edited = scene(generation=3, phase="Failed")
    assert (view(edited).ended, exit_code(view(edited))) == (False, 0)
    assert view(edited).notices == ("the operator has not seen the last change yet; does it run?",)
    assert exit_code(view(scene(phase="Complete"))) == 0


def test_an_object_that_nobody_has_seen_says_so() -> None:
    fresh = view(scene(generation=1))
    assert (fresh.phase, fresh.pipeline, fresh.ended) == ("Pending", "vistadream", False)
    assert fresh.notices == ("no operator has looked at this object yet; does it run, and watch this namespace?",)


def test_the_summary_for_programs_has_the_status_as_it_is() -> None:
    raw = running()
    assert summary(raw)["status"] == raw["status"]
    assert (summary(raw)["suspend"], summary(raw)["generation"]) == (False, 2)


def test_the_picture_shows_stages_failures_and_places() -> None:
    text = drawn(pictures.picture(view(running())))
    for words in ("courtyard", "37/94", "━", "2 skipped", "18 min 00 s left", "OutOfMemory", "s3://scenes/out", "✓ "):
        assert words in text
    assert "scenewright retry" not in text


def test_a_failed_object_names_the_commands_that_help() -> None:
    text = drawn(pictures.picture(view(scene(phase="Failed", failed=3, run="ab12cd34-1"))))
    assert "scenewright retry scenejob/courtyard -n lab" in text


def test_a_refused_spec_has_neither_logs_nor_anything_to_try_again() -> None:
    conditions = [condition("Accepted", "False", "InvalidSpec", "spec.x: 1: must be 2")]
    text = drawn(pictures.picture(view(scene(phase="Failed", conditions=conditions))))
    assert "spec.x: 1: must be 2" in text
    assert "scenewright logs" not in text


def test_the_overview_says_below_why_objects_wait() -> None:
    conditions = [condition("Waiting", "True", "OutputBusy", "lab/courtyard writes there")]
    views = [view(running()), view(scene("terrace", phase="Waiting", conditions=conditions))]
    lines = drawn(pictures.overview(views, with_namespace=True, width=120)).splitlines()
    assert lines[1].split()[:8] == [
        "lab",
        "scenejob/courtyard",
        "vistadream",
        "Running",
        "coarse",
        "37/96",
        "2",
        "3.2/min",
    ]
    assert lines[-1] == "scenejob/terrace  OutputBusy  lab/courtyard writes there"


def test_the_overview_says_which_objects_no_operator_looks_at() -> None:
    """With a dead operator an edited object would look as it did before, and a new one as if it were about to start."""
    ended = [condition("Failed", "True", "InvalidSpec", "of the old spec")]
    edited = scene("terrace", generation=3, phase="Failed", observedGeneration=2, conditions=ended)
    views = [view(running()), view(edited), view({**scene("fresh"), "status": {}})]
    lines = drawn(pictures.overview(views, with_namespace=True, width=120)).splitlines()[-2:]
    assert lines[0] == "scenejob/terrace  the operator has not seen the last change yet; does it run?"
    assert lines[1].startswith("scenejob/fresh  no operator has looked at this object yet")


def test_the_overview_fits_into_eighty_columns_by_leaving_columns_out() -> None:
    lines = drawn(pictures.overview([view(running())], with_namespace=True, width=80), 80).splitlines()
    assert lines[1].split() == ["lab", "scenejob/courtyard", "Running", "coarse", "37/96", "2", "47", "min"]


def test_every_phase_and_stage_state_has_a_look() -> None:
    assert set(pictures.STYLES) == set(get_args(Phase))
    for state in get_args(StageStatus.model_fields["state"].annotation):
        text = drawn(pictures.picture(view(scene(phase="Running", stages=[{"name": "coarse", "state": state}]))))
        assert "coarse" in text


def test_a_status_as_the_operator_writes_it_is_understood() -> None:
    status = Status(observed_generation=2, phase="Running", stages=[StageStatus(name="coarse", state="Running")])
    raw = scene(**status.model_dump(mode="json", by_alias=True))
    assert view(raw).stages[0].mark == "running"


def test_a_sweep_shows_its_children_and_a_running_object_its_forecast() -> None:
    rows = [
        {"name": "fixer-0", "phase": "Complete", "progress": "4/4", "metric": 31.25, "parameters": {"steps": "10"}},
        {"name": "fixer-1", "phase": "Running", "parameters": {"steps": "20"}},
    ]
    status = {"phase": "Running", "sweep": {"children": rows, "best": "fixer-0"}, "forecast": {"gpuHours": 12.5}}
    lines = plain_lines(view_of(scene(**status), NOW))
    assert "  fixer-0: Complete, 4/4, 31.25, steps=10 (best)" in lines and "  fixer-1: Running, steps=20" in lines
    assert "12.5 GPU hours expected" in lines[0]
