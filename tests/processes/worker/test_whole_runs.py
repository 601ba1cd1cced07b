"""Whole runs of real processes: what they leave behind, and that they do nothing twice."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from summaries import comparable
from toy_harness import Toy, tree
from toy_pipeline import PIPELINE

from scenewright_stages.contract import layout
from scenewright_stages.store import hash_bytes, open_store

EVERYTHING = [("double", f"s{index:04d}") for index in range(3)] + [("sum", f"s{index:04d}") for index in range(3)]


def test_a_run_leaves_results_manifest_records_and_log(toy: Toy) -> None:
    assert toy.all_steps() == [0, 0, 0, 0]
    assert toy.runs() == EVERYTHING
    results = toy.results()
    assert json.loads(results["s0001/result.json"])["sum"] == 2 * (2 + 3 + 4 + 5)
    assert {"manifest.jsonl", "dropped.csv", "summary.json", "report.html", "s0001/report.html"} <= results.keys()
    lines = [json.loads(line) for line in results["manifest.jsonl"].decode().splitlines()]
    assert [line["id"] for line in lines] == ["s0000", "s0001", "s0002"]
    assert lines[0]["files"]["sum/image"]["path"] == "s0000/image.png"
    assert lines[0]["backends"]["double"] == [{"capability": "arithmetic", "backend": "classic"}]
    logs = list((toy.output / layout.ROOT / "logs" / toy.run).iterdir())
    assert any("double s0000 done" in log.read_text() for log in logs)
    assert not (toy.output / layout.LOCK).exists()
    assert not any((toy.folder / "scratch").iterdir())


def test_everything_published_is_there_with_its_hash(toy: Toy) -> None:
    toy.all_steps()
    published = json.loads((toy.output / layout.PUBLISHED).read_text())
    stored = tree(toy.output, skip=())
    for path, entry in published["files"].items():
        assert (len(stored[path]), hash_bytes(stored[path])) == (entry["size"], entry["hash"]), path
    assert set(toy.results()) == {path for path in published["files"] if not path.startswith(layout.ROOT)}
    assert {path for path, entry in published["files"].items() if entry.get("volatile")} == {
        *("report.html", layout.SUMMARY),
        *(f"s{index:04d}/report.html" for index in range(3)),
    }
    assert published["files"][".scenewright/work/s0000/doubled.npz"]["intermediate"]


def test_a_second_run_runs_nothing_and_changes_nothing(toy: Toy) -> None:
    toy.all_steps()
    before = toy.results()
    toy.forget_runs()
    toy.new_run()
    assert toy.step("index") == 0
    assert {name: counts.todo for name, counts in toy.report("index").stages.items()} == {"double": 0, "sum": 0}
    assert toy.step("publish") == 0
    assert toy.runs() == []
    assert toy.results() == before


def test_the_command_that_executors_use_works(toy: Toy) -> None:
    assert toy.start_afresh("double", fold_index=True).wait(60) == 0
    assert toy.start_afresh("sum", fold_publish=True).wait(60) == 0
    assert toy.report("publish").stages["sum"].done == 3


def test_folded_processes_leave_the_same_tree(toy: Toy, tmp_path: Path) -> None:
    toy.all_steps()
    folded = Toy(tmp_path / "other")
    assert folded.folded() == [0, 0]
    assert folded.results() == toy.results()
    assert (folded.reports / "index.report.json").exists()
    assert folded.report("publish").stages["sum"].done == 3


def test_the_termination_message_of_a_folded_process_counts_all_stages(toy: Toy) -> None:
    assert toy.step("double", fold_index=True) == 0
    merged = json.loads((toy.reports / "termination").read_bytes())
    assert merged["stages"]["double"]["done"] == 3
    assert merged["stages"]["sum"]["todo"] == 3


def test_shards_share_the_work_without_overlap(toy: Toy, tmp_path: Path) -> None:
    sharded = Toy(tmp_path / "sharded", samples=5)
    sharded.faults()
    sharded.step("index")
    for step in ("double", "sum"):
        codes = [sharded.step(step, {"JOB_COMPLETION_INDEX": str(shard)}, shards=3) for shard in (2, 0, 1)]
        assert codes == [0, 0, 0]
    assert sharded.step("publish") == 0
    assert sorted(sharded.runs()) == [(stage, f"s{i:04d}") for stage in ("double", "sum") for i in range(5)]
    lone = Toy(tmp_path / "lone", samples=5)
    lone.folded()
    assert lone.results() == sharded.results()


def test_a_shard_that_did_not_run_is_missing_and_another_pass_fills_it(toy: Toy) -> None:
    toy.step("index")
    toy.step("double", shards=2)
    toy.step("sum", shards=2)
    assert toy.step("publish") == 0
    counts = toy.report("publish").stages
    assert (counts["double"].done, counts["double"].missing, counts["sum"].missing) == (2, 1, 1)
    assert (toy.output / layout.LOCK).exists()
    assert toy.all_steps() == [0, 0, 0, 0]
    assert toy.report("publish").stages["sum"].done == 3
    assert toy.runs().count(("double", "s0000")) == 1
    assert not (toy.output / layout.LOCK).exists()


def test_a_sidecar_is_found_and_counts_as_input(toy: Toy) -> None:
    (toy.input / "s0001.weight.txt").write_text("10")
    toy.folded()
    assert json.loads(toy.results()["s0001/result.json"])["sum"] == 10 * 2 * 14
    toy.forget_runs()
    toy.new_run()
    (toy.input / "s0001.weight.txt").write_text("20")
    toy.folded()
    assert toy.runs() == [("double", "s0001"), ("sum", "s0001")]


def test_a_single_file_is_a_job_whose_page_is_the_report(toy: Toy) -> None:
    toy.options = {"input": {"uri": f"file://{toy.input}/s0002.txt"}}
    assert toy.folded() == [0, 0]
    assert set(toy.results()) == {
        *("s0002/result.json", "s0002/image.png", "s0002/note.txt", "report.html"),
        *("manifest.jsonl", "dropped.csv", "summary.json"),
    }
    assert b"s0002: 36.0" in toy.results()["report.html"]


def test_plan_only_says_what_would_run_and_writes_nothing(toy: Toy) -> None:
    assert toy.step("index", plan_only=True) == 0
    assert not toy.output.exists()
    plan = toy.plan()
    assert [(stage["name"], stage["todo"], stage["reasons"]) for stage in plan["stages"]] == [
        ("double", 3, {"no record": 3}),
        ("sum", 3, {"upstream runs again": 3}),
    ]
    toy.folded()
    before = tree(toy.output, skip=())
    toy.parameters = {**toy.parameters, "sum": {"offset": 1}}
    assert toy.step("index", plan_only=True) == 0
    assert toy.plan()["stages"][1]["reasons"] == {"parameters changed": 3}
    assert tree(toy.output, skip=()) == before


def test_progress_ends_with_absolute_counters(toy: Toy) -> None:
    toy.step("double", fold_index=True)
    progress = json.loads((toy.reports / "progress.json").read_text())
    assert progress["samples"] == {"total": 3, "done": 3, "failed": 0, "skipped": 0}
    assert (progress["step"], progress["phase"], progress["current"]) == ("double", "finished", None)


@pytest.mark.slow
def test_the_same_on_s3(s3_bucket: str, tmp_path: Path) -> None:
    toy = Toy(tmp_path / "job", output_uri=f"s3://{s3_bucket}/results")
    source = open_store(f"s3://{s3_bucket}/photos")
    for path in sorted(toy.input.iterdir()):
        source.put_file(path.name, path)
    toy.options = {"input": {"uri": f"s3://{s3_bucket}/photos"}}
    toy.faults()
    assert toy.folded() == [0, 0]
    assert toy.runs() == EVERYTHING
    local = Toy(tmp_path / "local")
    local.folded()
    stored = open_store(toy.output_uri)
    names = [entry.key for entry in stored.list() if not entry.key.startswith(layout.ROOT)]
    assert {name: comparable(name, stored.get_bytes(name)) for name in names} == local.results()
    toy.new_run()
    toy.forget_runs()
    assert toy.folded() == [0, 0]
    assert toy.runs() == []
    source.put_bytes("s0001.txt", b"7 8")
    toy.new_run()
    assert toy.folded() == [0, 0]
    assert toy.runs() == [("double", "s0001"), ("sum", "s0001")]
    assert stored.head(layout.LOCK) is None


def test_the_toy_pipeline_is_what_its_parameters_say() -> None:
    assert [stage.name for stage in PIPELINE.stages(PIPELINE.parse({}))] == ["double", "sum"]
