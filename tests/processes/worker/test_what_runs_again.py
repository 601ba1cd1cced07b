"""Only what changed runs again: parameters, inputs, files, selections, retries."""

from __future__ import annotations

import json

import pytest
from toy_harness import Toy

from scenewright_stages.contract import layout

SAMPLES = ("s0000", "s0001", "s0002")


@pytest.fixture
def made(toy: Toy) -> Toy:
    """A job that has been run once."""
    assert toy.folded() == [0, 0]
    toy.forget_runs()
    toy.new_run()
    return toy


def set_parameter(toy: Toy, **changes: object) -> None:
    toy.parameters = {**toy.parameters, **changes}


def test_a_parameter_of_the_last_stage_reruns_that_stage_only(made: Toy) -> None:
    set_parameter(made, sum={"offset": 7})
    assert made.folded() == [0, 0]
    assert made.runs() == [("sum", sample) for sample in SAMPLES]
    assert json.loads(made.results()["s0000/result.json"])["sum"] == 27


def test_a_parameter_of_the_first_stage_reruns_all_that_depends_on_it(made: Toy) -> None:
    set_parameter(made, factor=3)
    assert made.folded() == [0, 0]
    assert sorted(made.runs()) == [(stage, sample) for stage in ("double", "sum") for sample in SAMPLES]


def test_parameters_that_no_stage_names_rerun_nothing(made: Toy) -> None:
    set_parameter(made, seconds=0.001)
    assert made.folded() == [0, 0]
    assert made.runs() == []


def test_an_edited_input_reruns_its_sample_only(made: Toy) -> None:
    (made.input / "s0001.txt").write_text("100")
    assert made.folded() == [0, 0]
    assert made.runs() == [("double", "s0001"), ("sum", "s0001")]
    assert json.loads(made.results()["s0001/result.json"])["sum"] == 200


def test_an_input_that_comes_out_the_same_stops_the_rerun_there(made: Toy) -> None:
    (made.input / "s0001.txt").write_text("2.0 3.0 4.0 5.0")
    assert made.folded() == [0, 0]
    assert made.runs() == [("double", "s0001")]


def test_touching_a_file_reruns_nothing(made: Toy) -> None:
    content = (made.input / "s0001.txt").read_text()
    (made.input / "s0001.txt").write_text(content)
    assert made.folded() == [0, 0]
    assert made.runs() == []


def test_there_and_back_again_gives_the_first_results(made: Toy) -> None:
    first = made.results()
    set_parameter(made, sum={"offset": 7})
    made.folded()
    made.new_run()
    made.forget_runs()
    set_parameter(made, sum={"offset": 0})
    assert made.folded() == [0, 0]
    assert made.runs() == [("sum", sample) for sample in SAMPLES]
    assert made.results() == first


def test_there_and_back_again_although_the_other_way_was_killed(made: Toy) -> None:
    """B overwrote A's files and was killed before it recorded that: A's records must not count any more."""
    first = made.results()
    set_parameter(made, sum={"offset": 7})
    made.step("index")
    for sample in SAMPLES:
        (made.output / sample / "result.json").write_text(first[f"{sample}/result.json"].decode().replace("2", "3"))
    made.faults(stage="sum", kill="s0002")
    assert made.step("sum") == -9
    assert {record.state for record in made.records("sum") if record.run == made.run} == {"started"}
    made.faults()
    made.new_run()
    made.forget_runs()
    set_parameter(made, sum={"offset": 0})
    assert made.folded() == [0, 0]
    assert ("sum", "s0002") in made.runs()
    assert made.results()["s0002/result.json"] == first["s0002/result.json"]


def test_deleted_and_cut_results_are_made_again(made: Toy) -> None:
    before = made.results()
    (made.output / "s0000/result.json").unlink()
    (made.output / "s0002/image.png").write_bytes(b"cut")
    assert made.folded() == [0, 0]
    assert made.runs() == [("sum", "s0000"), ("sum", "s0002")]
    assert made.results() == before


def test_a_deleted_intermediate_is_made_again_but_not_what_reads_it(made: Toy) -> None:
    (made.output / layout.WORK / "s0001/doubled.npz").unlink()
    assert made.folded() == [0, 0]
    assert made.runs() == [("double", "s0001")]


def test_only_an_earlier_stage(toy: Toy) -> None:
    assert toy.step("double", fold_index=True, fold_publish=True, select_stages=["double"]) == 0
    assert toy.runs() == [("double", sample) for sample in SAMPLES]
    assert {path for path in toy.results() if "/" in path} == {
        f"{sample}/{name}" for sample in SAMPLES for name in ("note.txt",)
    } | {path for path in toy.results() if path.endswith("/report.html")}
    toy.new_run()
    assert toy.step("sum", fold_index=True, fold_publish=True, select_stages=["sum"]) == 0
    assert json.loads(toy.results()["s0000/result.json"])["sum"] == 20
    assert toy.runs().count(("double", "s0000")) == 1


def test_a_later_stage_alone_needs_the_earlier_one(toy: Toy) -> None:
    assert toy.step("index", select_stages=["sum"]) == 10
    report = toy.report("index")
    assert report.outputs["field"] == "spec.execution.stages"
    assert f"it reads double (<sample>/note.txt), not up to date in file://{toy.output} and not" in report.message
    assert not toy.output.exists()


def test_a_later_stage_alone_skips_samples_that_lack_the_earlier_one(made: Toy) -> None:
    (made.input / "s0003.txt").write_text("1 2")
    set_parameter(made, sum={"offset": 1})
    codes = [made.step("sum", fold_index=True, fold_publish=True, select_stages=["sum"])]
    assert codes == [0]
    assert made.runs() == [("sum", sample) for sample in SAMPLES]
    counts = made.report("publish").stages["sum"]
    assert (counts.done, counts.skipped, counts.missing) == (3, 1, 0)
    assert b"s0003,sum,UpstreamMissing" in made.results()["dropped.csv"]


def test_failures_are_retried_only_when_asked(toy: Toy) -> None:
    toy.faults(sample_error="s0001")
    assert toy.folded() == [0, 0]
    toy.faults()
    toy.new_run()
    toy.forget_runs()
    assert toy.folded() == [0, 0]
    assert toy.runs() == []
    assert toy.report("index").stages["double"].failed == 1
    assert toy.report("index").stages["sum"].skipped == 1
    toy.new_run()
    assert toy.folded(retry_failed=True) == [0, 0]
    assert toy.runs() == [("double", "s0001"), ("sum", "s0001")]
    assert toy.report("publish").stages["sum"].done == 3


def test_a_failure_is_tried_again_when_its_input_changed(toy: Toy) -> None:
    toy.faults(sample_error="s0001")
    toy.folded()
    toy.faults()
    toy.new_run()
    toy.forget_runs()
    (toy.input / "s0001.txt").write_text("5")
    toy.folded()
    assert toy.runs() == [("double", "s0001"), ("sum", "s0001")]
