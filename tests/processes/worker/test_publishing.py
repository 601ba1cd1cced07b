"""What publish deletes, keeps, makes again, and guards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_harness import Toy

from scenewright_stages.contract import layout
from scenewright_stages.worker.process.locking import EXPIRY_SECONDS, Holder


def rerun(toy: Toy, **changes: object) -> None:
    toy.new_run()
    toy.forget_runs()
    assert toy.folded(**changes) == [0, 0]


def test_results_that_are_no_longer_made_are_deleted(toy: Toy) -> None:
    toy.parameters = {**toy.parameters, "extra": True}
    toy.folded()
    assert "s0000/extra.txt" in toy.results()
    toy.parameters = {**toy.parameters, "extra": False}
    rerun(toy)
    assert not any(path.endswith("extra.txt") for path in toy.results())


def test_nothing_is_deleted_where_pruning_is_off(toy: Toy) -> None:
    toy.parameters = {**toy.parameters, "extra": True}
    toy.folded()
    toy.parameters = {**toy.parameters, "extra": False}
    rerun(toy, output={"uri": str(toy.output), "prune": False})
    assert "s0000/extra.txt" in toy.results()


def test_samples_that_left_the_input_are_deleted_with_their_intermediates(toy: Toy) -> None:
    toy.folded()
    (toy.input / "s0001.txt").unlink()
    rerun(toy)
    assert not any("s0001" in path for path in toy.results())
    assert not (toy.output / layout.WORK / "s0001").exists()
    assert toy.runs() == []
    assert [path.name for path in sorted(toy.output.iterdir()) if path.is_dir()] == [".scenewright", "s0000", "s0002"]


def test_a_sample_that_now_fails_loses_its_old_results(toy: Toy) -> None:
    toy.folded()
    toy.parameters = {**toy.parameters, "sum": {"offset": 3}}
    toy.faults(stage="sum", sample_error="s0001")
    rerun(toy)
    assert "s0001/result.json" not in toy.results()
    assert "s0001/note.txt" in toy.results()
    assert b"s0001" not in toy.results()["manifest.jsonl"]


def test_files_that_are_not_ours_stay(toy: Toy) -> None:
    toy.folded()
    for path in ("mine.txt", "s0001/mine.txt", "s0009/image.png"):
        (toy.output / path).parent.mkdir(exist_ok=True)
        (toy.output / path).write_text("mine")
    (toy.input / "s0001.txt").unlink()
    rerun(toy)
    assert {path for path, content in toy.results().items() if content == b"mine"} == {
        "mine.txt",
        "s0001/mine.txt",
        "s0009/image.png",
    }


def test_results_of_a_run_that_never_published_are_deleted_too(toy: Toy) -> None:
    toy.step("double", fold_index=True)
    toy.step("sum")
    (toy.input / "s0001.txt").unlink()
    rerun(toy)
    assert not any("s0001" in path for path in toy.results())


def test_records_are_compacted_to_one_file_a_key(toy: Toy) -> None:
    toy.folded()
    toy.parameters = {**toy.parameters, "sum": {"offset": 3}}
    rerun(toy)
    files = [path for stage in ("double", "sum") for path in (toy.output / layout.ROOT / stage).rglob("*.jsonl")]
    assert [path.name for path in files] == ["records.jsonl", "records.jsonl"]
    assert [record.state for record in toy.records("sum")] == ["done"] * 3


def test_a_page_is_made_again_only_when_its_sample_changed(toy: Toy) -> None:
    toy.folded()
    written = {path: (toy.output / path).stat().st_mtime_ns for path in toy.results() if path.endswith(".html")}
    (toy.input / "s0001.txt").write_text("50 60")
    rerun(toy)
    again = {path: (toy.output / path).stat().st_mtime_ns for path in written}
    assert {path for path in written if written[path] != again[path]} == {"s0001/report.html", "report.html"}


def test_a_report_that_cannot_be_made_is_a_warning_and_costs_no_result(toy: Toy) -> None:
    toy.pipeline = "toy_broken:WITHOUT_REPORTER"
    assert toy.folded() == [0, 0]
    report = toy.report("publish")
    assert "report.html could not be made" in " ".join(report.warnings)
    assert "report" not in report.outputs
    assert "s0000/result.json" in toy.results()


def write_lock(toy: Toy, process: int, **changes: object) -> None:
    holder = {**vars(Holder.here("another job", process)), **changes}
    (toy.output / layout.ROOT).mkdir(parents=True, exist_ok=True)
    (toy.output / layout.LOCK).write_text(json.dumps(holder))


def test_an_output_in_use_is_refused_by_name_and_time(toy: Toy) -> None:
    write_lock(toy, os.getpid())
    assert toy.step("index") == 10
    report = toy.report("index")
    assert report.reason == "OutputInUse"
    assert report.retry_at == pytest.approx(time.time() + EXPIRY_SECONDS, abs=60.0)
    assert report.outputs["field"] == "spec.output.uri"
    assert "another job" in report.message
    assert "UTC" in report.message
    assert not (toy.output / layout.INDEX).exists()


def test_a_stage_does_not_write_into_an_output_that_was_taken_over(toy: Toy) -> None:
    toy.step("index")
    write_lock(toy, os.getpid())
    assert toy.step("double") == 10
    assert toy.runs() == []


def test_an_expired_lock_is_taken_over(toy: Toy) -> None:
    write_lock(toy, os.getpid(), expires=time.time() - 1)
    assert toy.step("index") == 0


def test_a_lock_of_a_dead_process_of_this_host_is_taken_over(toy: Toy) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    write_lock(toy, int(done.stdout))
    assert toy.step("index") == 0


def test_a_lock_of_another_host_is_not(toy: Toy) -> None:
    write_lock(toy, 999_999, host="elsewhere")
    assert toy.step("index") == 10


def test_a_process_number_that_was_given_again_is_not_taken_for_the_holder(toy: Toy) -> None:
    write_lock(toy, os.getpid(), process_started=1)
    assert toy.step("index") == 0


def test_the_next_job_may_have_the_output_after_publish(toy: Toy, tmp_path: Path) -> None:
    toy.folded()
    assert toy.step("index", holder="another job") == 0


def test_many_shards_that_start_together_share_the_lock(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "job", samples=12)
    assert toy.step("index") == 0
    processes = [toy.start("double", {"JOB_COMPLETION_INDEX": str(shard)}, shards=12) for shard in range(12)]
    assert [process.wait() for process in processes] == [0] * 12
    assert toy.step("publish", select_stages=["double"]) == 0
    assert toy.report("publish").stages["double"].done == 12
