"""Inputs and outputs that cannot be used: refused with field, value and remedy, and nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from toy_harness import Toy


def refusal(toy: Toy, **changes: Any) -> dict[str, str]:
    """The three parts of the refusal of the index step."""
    assert toy.step("index", **changes) == 10, toy.console()
    report = toy.report("index")
    assert report.reason == "ConfigurationError"
    assert set(report.outputs) == {"field", "value", "remedy"}
    return report.outputs


@pytest.mark.parametrize(
    ("uri", "remedy"),
    [
        ("{folder}/nothing", "name a file"),
        ("{folder}/nothing.txt", "name a file"),
        ("{folder}/empty", "name a file"),
        ("{folder}/other", "samples end in .txt"),
        ("{folder}/other/readme.md", "samples end in .txt"),
        ("ftp://host/photos", "s3://bucket/prefix"),
    ],
)
def test_an_input_without_samples_is_refused(toy: Toy, uri: str, remedy: str) -> None:
    (toy.folder / "empty").mkdir()
    (toy.folder / "other").mkdir()
    (toy.folder / "other/readme.md").write_text("text")
    refused = refusal(toy, input={"uri": uri.format(folder=toy.folder)})
    assert refused["field"] == "spec.input.uri"
    assert remedy in refused["remedy"]
    assert not toy.output.exists()


@pytest.mark.parametrize(
    ("select", "field"),
    [
        ({"indices": "7"}, "spec.input.select.indices"),
        ({"indices": "2-1"}, "spec.input.select.indices"),
        ({"indices": "first"}, "spec.input.select.indices"),
        ({"variants": ["stylized"]}, "spec.input.select.variants"),
    ],
)
def test_a_selection_of_what_is_not_there_is_refused(toy: Toy, select: dict[str, Any], field: str) -> None:
    assert refusal(toy, input={"uri": str(toy.input), "select": select})["field"] == field
    assert not toy.output.exists()


def test_an_output_that_is_a_file_is_refused(toy: Toy) -> None:
    place = toy.folder / "file"
    place.write_text("mine")
    refused = refusal(toy, output={"uri": f"{place}/below"})
    assert refused["field"] == "spec.output.uri"
    assert place.read_text() == "mine"


def test_an_output_that_is_the_input_is_refused(toy: Toy) -> None:
    before = sorted(toy.input.iterdir())
    assert refusal(toy, output={"uri": str(toy.input)})["field"] == "spec.output.uri"
    assert sorted(toy.input.iterdir()) == before


def test_an_output_below_the_input_is_no_input(toy: Toy) -> None:
    toy.options = {"output": {"uri": f"{toy.input}/results"}}
    assert toy.folded() == [0, 0]
    toy.new_run()
    assert toy.folded() == [0, 0]
    assert toy.report("index").samples == 3


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"pipeline": "toi"}, "spec"),
        ({"parameters": {"factor": 0}}, "spec.toy.factor"),
        ({"parameters": {"factr": 2}}, "spec.toy.factr"),
        ({"select_stages": ["triple"]}, "spec.execution.stages"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(toy: Toy, changes: dict[str, Any], field: str) -> None:
    assert refusal(toy, **changes)["field"] == field
    assert not toy.output.exists()


@pytest.mark.parametrize("text", [None, "{", '{"step": "index"}', "x" * 40_000])
def test_an_invalid_task_is_refused(toy: Toy, text: str | None) -> None:
    environment = toy.variables("index")
    if text is None:
        del environment["SCENEWRIGHT_TASK"]
    process = toy.start_with({**environment, **({} if text is None else {"SCENEWRIGHT_TASK": text})})
    assert process.wait() == 10
    assert toy.report("task").outputs["field"].startswith("SCENEWRIGHT_TASK")


def test_links_out_of_the_input_and_empty_files_are_rejected_one_by_one(toy: Toy) -> None:
    secret = toy.folder / "secret.txt"
    secret.write_text("1 2 3")
    (toy.input / "linked.txt").symlink_to(secret)
    (toy.input / "void.txt").write_text("")
    assert toy.folded() == [0, 0]
    report = toy.report("publish")
    assert (report.samples, report.rejected) == (3, 2)
    assert {failure.sample: failure.reason for failure in report.failures} == {
        "linked": "OutsideInput",
        "void": "EmptyFile",
    }
    assert b"linked,index,OutsideInput" in toy.results()["dropped.csv"]


def test_odd_names_become_safe_and_unique_ids(toy: Toy) -> None:
    for name in ("a b.txt", "a_b.txt", "..dots.txt", "-dash.txt", "é?.txt", "sub/deep/s0000.txt"):
        (toy.input / name).parent.mkdir(parents=True, exist_ok=True)
        (toy.input / name).write_text("1 2")
    assert toy.folded() == [0, 0]
    names = {path.split("/result.json")[0] for path in toy.results() if path.endswith("result.json")}
    assert len(names) == 8
    assert {"dash", "sub/deep/s0000", "s0000"} <= names
    assert not (toy.folder / "dots").exists()


def test_files_that_are_no_samples_are_named(toy: Toy) -> None:
    (toy.input / "notes.md").write_text("text")
    (toy.input / ".hidden.txt").write_text("1 2")
    toy.step("index")
    assert toy.report("index").warnings == ["found and not used: notes.md (text for people)"]
    assert toy.report("index").samples == 3


def test_an_input_that_changes_while_it_is_worked_on_fails_and_heals(toy: Toy) -> None:
    toy.step("index")
    (toy.input / "s0001.txt").write_text("9 8")
    assert toy.step("double") == 0
    assert toy.report("double").failures[0].reason == "InputChanged"
    toy.new_run()
    assert toy.folded() == [0, 0]
    assert toy.report("publish").stages["sum"].done == 3


def test_a_worklist_cannot_name_a_sample_outside(toy: Toy) -> None:
    toy.step("index")
    worklist = toy.output / ".scenewright/runs" / toy.run / "double.jsonl"
    worklist.write_text(worklist.read_text().replace("s0001", "../../s0001", 1))
    assert toy.step("double") != 0
    assert not (toy.folder / "s0001").exists()


def test_an_output_that_becomes_full_ends_with_10_and_heals(toy: Toy, small_disk: Path) -> None:
    toy.options = {"output": {"uri": str(small_disk / "out")}}
    assert toy.step("index") == 0
    ballast = small_disk / "ballast"
    _fill(ballast)
    assert toy.step("double") == 10
    assert "no space is left" in toy.report("double").message
    ballast.unlink()
    assert toy.folded() == [0, 0]
    assert toy.report("publish").stages["sum"].done == 3


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
