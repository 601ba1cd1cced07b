"""Whole runs of a pipeline with families, numbered files, folders, paths with attributes, entries and questions."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from toy_steps import Job
from toy_views import PIPELINE, RAN

from scenewright_stages.contract import layout
from scenewright_stages.contract.errors import ConfigurationError

LIST = [{"uri": "a.txt", "album": "first", "prompt": " rain"}, {"uri": "b.txt", "album": "second", "prompt": " sun"}]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Two photographs that a list names."""
    made = Job(tmp_path, PIPELINE, input=str(tmp_path / "in" / "list.jsonl"))
    for name in "ab":
        (made.source / f"{name}.txt").write_text(f"photo {name}")
    write_list(made, LIST)
    return made


def write_list(job: Job, rows: list[dict[str, Any]]) -> None:
    (job.source / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def again(job: Job) -> list[tuple[str, str]]:
    """What a further run runs."""
    RAN.clear()
    job.all_steps()
    return sorted(RAN)


def test_a_whole_run_paints_mixes_gathers_and_makes_one_poster_and_a_second_one_runs_nothing(job: Job) -> None:
    report = job.all_steps()
    counts = {name: (each.total, each.done) for name, each in report.stages.items()}
    assert counts == {"paint": (6, 6), "mix": (6, 6), "album": (2, 2), "poster": (1, 1)}
    assert report.samples == 2 and report.failures == [], "two albums; the poster of them all is counted by its stage"
    results = job.results()
    frames = [f"{name}_v{view}/frames/{number:03d}.txt" for name in "ab" for view in range(3) for number in range(2)]
    assert {path for path in results if "/frames/" in path} == set(frames)
    assert results["b_v2/frames/001.txt"] == "photo b v2 1 in black sun"
    assert results["albums/first.txt"] == "photo a: a_v0 a_v1 a_v2"
    assert results["poster.txt"] == "a | b"
    mixed = results["mixed/v1/a_v1.txt"].splitlines()
    assert [line.partition(":")[0] for line in mixed[:6]] == [f"a_v{view}" for view in (0, 0, 1, 1, 2, 2)]
    assert mixed[6:] == ["deep/0.txt", "deep/1.txt", "deep/2.txt"]
    assert again(job) == []
    assert job.results() == results


def test_numbered_and_folder_outputs_are_published_file_by_file_with_their_count_in_the_manifest(job: Job) -> None:
    job.all_steps()
    files = job.published()["files"]
    assert {"a_v0/frames/000.txt", "a_v0/frames/001.txt"} <= files.keys()
    assert files["a_v0/notes/deep/0.txt"]["intermediate"] is True
    assert files["a_v0/notes/deep/0.txt"]["size"] == len("note 0")
    (record,) = [record for record in job.records("paint") if record.sample == "a_v0" and record.state == "done"]
    assert list(record.outputs["frames"].parts) == ["000.txt", "001.txt"]
    assert record.outputs["frames"].path == "a_v0/frames/{number:03d}.txt"
    assert list(record.outputs["notes"].parts) == ["deep/0.txt", "deep/1.txt", "deep/2.txt"]
    rows = [json.loads(line) for line in job.results()["manifest.jsonl"].splitlines()]
    assert [row["id"] for row in rows] == ["a", "b", "whole"]
    assert rows[0]["files"]["album/album"]["path"] == "albums/first.txt"


def test_fewer_files_leave_no_old_ones_behind_and_no_stage_sees_those_before_they_are_pruned(job: Job) -> None:
    job.all_steps()
    assert (job.output / "a_v0/frames/001.txt").exists()
    job.block = {"frames": 1}
    job.all_steps()
    results = job.results()
    assert "a_v0/frames/000.txt" in results and "a_v0/frames/001.txt" not in results
    assert not (job.output / "a_v0/notes/deep/2.txt").exists()
    mixed = results["mixed/v1/a_v1.txt"].splitlines()
    assert mixed[3:] == ["deep/0.txt", "deep/1.txt"], "a folder is what its record says"
    job.block = {"frames": 0}
    job.all_steps()
    assert not [path for path in job.results() if "/frames/" in path]
    assert again(job) == [], "no file at all is up to date too"


@pytest.mark.parametrize("lost", ["a_v1/frames/001.txt", "a_v1/notes/deep/2.txt"])
def test_one_of_many_files_that_is_lost_or_cut_has_its_sample_run_again(job: Job, lost: str) -> None:
    job.all_steps()
    results = job.results()
    (job.output / lost).unlink()
    assert again(job) == [("paint", "a_v1")], "what reads it finds it the same"
    (job.output / lost).write_text("cut")
    assert again(job) == [("paint", "a_v1")]
    assert job.results() == results


def test_what_an_interrupted_run_stored_of_many_files_is_removed_by_the_next_publish(job: Job) -> None:
    """The names were noted before the first file was stored."""
    job.block = {"frames": 4}
    job.all_steps()
    record_files = sorted((job.output / layout.ROOT / "paint").rglob("*.jsonl"))
    started = [
        json.dumps({**json.loads(line), "state": "started", "reason": "LeftProcess"})
        for path in record_files
        for line in path.read_text().splitlines()
    ]
    for path in record_files:
        path.unlink()
    (job.output / layout.PUBLISHED).unlink()
    marks = record_files[0].parent / "run-0-0-gone.started.jsonl"
    marks.write_text("\n".join(started) + "\n")
    job.block = {"frames": 1}
    job.all_steps()
    left = [path for path in job.results() if path.startswith("a_v0/frames/")]
    assert left == ["a_v0/frames/000.txt"]
    assert not (job.output / "a_v0/notes/deep/4.txt").exists()


def test_failed_views_are_left_out_while_enough_are_done_and_named_in_dropped_csv(job: Job) -> None:
    job.block = {"bad": "a_v1"}
    report = job.all_steps()
    assert (report.stages["paint"].failed, report.stages["album"].done) == (1, 2)
    assert job.results()["albums/first.txt"] == "photo a: a_v0 a_v2"
    assert [(each.sample, each.stage, each.reason) for each in report.failures] == [("a_v1", "paint", "Smudged")]
    rows = list(csv.reader(job.results()["dropped.csv"].splitlines()))
    assert ["a_v1", "paint", "Smudged", "try again"] in rows
    assert ["a_v1", "mix", "UpstreamFailed", "paint failed: Smudged"] in rows


def test_too_few_views_drop_the_photograph_and_the_poster_that_needs_all(job: Job) -> None:
    job.block = {"bad": "a_v"}
    report = job.all_steps()
    assert report.stages["mix"].done == 3
    assert (report.stages["album"].done, report.stages["album"].skipped) == (1, 1)
    assert report.stages["poster"].skipped == 1
    assert "albums/first.txt" not in job.results() and "poster.txt" not in job.results()


def test_an_edited_prompt_runs_again_only_its_own_sample_and_what_reads_it(job: Job) -> None:
    job.all_steps()
    write_list(job, [LIST[0], {**LIST[1], "prompt": " snow"}])
    ran = again(job)
    assert {sample.partition("_")[0] for stage, sample in ran if stage != "poster"} == {"b"}
    assert [stage for stage, _ in ran] == ["album", *["mix"] * 3, *["paint"] * 3]
    write_list(job, [LIST[0], {**LIST[1], "prompt": " snow", "pageCount": 7}])
    assert again(job) == [], "no stage reads the number of pages"


def test_a_parameter_that_an_entry_sets_holds_for_its_own_sample_alone(job: Job) -> None:
    job.all_steps()
    write_list(job, [{**LIST[0], "parameters": {"frames": 1}}, LIST[1]])
    ran = again(job)
    assert {sample.partition("_")[0] for stage, sample in ran if stage != "poster"} == {"a"}
    results = job.results()
    assert "a_v0/frames/001.txt" not in results and "b_v0/frames/001.txt" in results
    write_list(job, LIST)
    again(job)
    assert "a_v0/frames/001.txt" in job.results()


@pytest.mark.parametrize(
    ("row", "reason", "message"),
    [
        ({"parameters": {"ink": "red"}}, "BadEntry", "parameters.ink cannot be set by an entry; allowed: frames, bad"),
        ({"parameters": {"views": 9}}, "BadEntry", "parameters.views cannot be set"),
        ({"parameters": {"frames": "many"}}, "BadEntry", "entry.parameters.frames: 'many'"),
        ({"pageCount": "many"}, "BadEntry", "pageCount: Input should be a valid integer"),
        ({"album": "../up"}, "BadEntry", "album.album: '../up'"),
        ({"album": "a/b"}, "BadEntry", "album.album: 'a/b'"),
        ({"album": ""}, "BadEntry", "album.album: None"),
        ({"id": "x" * 126}, "BadSampleId", "is too long once expanded"),
    ],
)
def test_an_entry_that_cannot_be_meant_costs_its_sample_and_no_other(
    job: Job, row: dict[str, Any], reason: str, message: str
) -> None:
    write_list(job, [LIST[0], {**LIST[1], **row}])
    report = job.index()
    (failure,) = report.failures
    assert (failure.stage, failure.reason) == ("index", reason)
    bad = next(sample for sample in job.samples().values() if sample.rejected)
    assert bad.rejected is not None and message in bad.rejected[1]
    assert set(job.todo("paint")) == {"a_v0", "a_v1", "a_v2"}


def test_two_samples_that_would_write_one_path_are_refused_before_anything_runs(job: Job) -> None:
    write_list(job, [LIST[0], {**LIST[1], "album": "first"}])
    with pytest.raises(ConfigurationError, match="album would write this path for a and for b") as refused:
        job.index()
    assert (refused.value.field, refused.value.value) == ("spec.input", "albums/first.txt")
    assert not job.output.exists()


def test_a_question_is_awaited_and_its_answer_runs_the_stage_alone(job: Job) -> None:
    job.block = {"ask": True}
    report = job.all_steps()
    assert (report.stages["album"].awaiting, report.stages["poster"].awaiting, report.awaiting) == (2, 1, 2)
    assert report.failures == [] and report.stages["mix"].done == 6
    assert json.loads(job.results()["summary.json"])["samples"]["waiting"] == 2
    (job.output / "a").mkdir()
    (job.output / "a" / "answer.json").write_text('{"cover": "v2"}')
    assert again(job) == [("album", "a")]
    assert job.results()["albums/first.txt"] == "photo a: a_v0 a_v1 a_v2 cover v2"
    (job.output / "b").mkdir()
    (job.output / "b" / "answer.json").write_text('{"cover": "v9"}')
    again(job)
    (failed,) = [record for record in job.records("album") if record.state == "failed"]
    assert (failed.sample, failed.reason) == ("b", "BadAnswer")
    assert failed.message == "b/answer.json: cover is 'v9'; allowed: v0, v1, v2"
    (job.output / "b" / "answer.json").write_text('{"cover": "v0"}')
    assert again(job) == [("album", "b"), ("poster", "whole")]
    (job.output / "a" / "answer.json").write_text('{"cover": "v1"}')
    assert again(job)[0] == ("album", "a")
    assert (job.output / "a" / "answer.json").exists(), "publish deletes nothing that it did not make"


def test_numbers_in_cells_stay_text_where_the_pipeline_types_them_so(job: Job) -> None:
    (job.source / "list.csv").write_text("file_name,album,page_count,price\na.txt,007,3,1.5\n")
    job.input = str(job.source / "list.csv")
    job.index()
    assert job.samples()["a"].attributes == {"album": "007", "page_count": 3, "price": 1.5}


def test_entries_of_a_data_set_are_typed_under_both_spellings_of_a_name(job: Job) -> None:
    entries = [
        {"photo": {"path": "a.txt"}, "album": "x", "pageCount": 4, "parameters": {"frames": 1}},
        {"photo": {"path": "b.txt"}, "album": "y", "page_count": 5, "unknown": 1},
    ]
    (job.source / "metadata.json").write_text(json.dumps(entries))
    job.input = str(job.source)
    job.index()
    first, second = job.samples().values()
    assert (first.attributes["page_count"], first.overrides) == (4, {"frames": 1})
    assert second.attributes == {"variant": "photo", "index": 1, "album": "y", "page_count": 5}
