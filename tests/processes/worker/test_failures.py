"""Samples that fail, in every way there is, and what the process and the report say of it."""

from __future__ import annotations

import json
import time

import pytest
from toy_harness import Toy
from toy_pipeline import write_inputs

from scenewright_stages.contract.errors import ExitCode
from scenewright_stages.contract.reports import MAXIMUM_REPORT_BYTES, PACKAGE_MISSING, Report


def failure(toy: Toy, stage: str = "double", sample: str = "s0001") -> tuple[str, str]:
    """Reason and message of the sample's failed record."""
    record = next(one for one in toy.records(stage) if one.sample == sample and one.state == "failed")
    return record.reason, record.message


def others_are_done(toy: Toy) -> bool:
    counts = toy.report("publish").stages["sum"]
    return (counts.done, counts.failed + counts.skipped, counts.missing) == (2, 1, 0)


@pytest.mark.parametrize(
    ("fault", "stage", "reason", "message"),
    [
        ("error", "double", "RuntimeError", "boom"),
        ("sampleError", "double", "ToyBroken", ""),
        ("nan", "double", "ContractNotMet", "finite"),
        ("small", "sum", "ContractNotMet", "4x4"),
    ],
)
def test_a_bad_sample_is_recorded_and_the_others_are_made(
    toy: Toy, fault: str, stage: str, reason: str, message: str
) -> None:
    toy.faults(stage=stage, **{fault: "s0001"})
    assert toy.folded() == [0, 0]
    assert failure(toy, stage)[0] == reason
    assert message in failure(toy, stage)[1]
    assert others_are_done(toy)
    assert "s0001/result.json" not in toy.results()
    assert f"s0001,{stage},{reason}".encode() in toy.results()["dropped.csv"]
    assert [line for line in toy.results()["manifest.jsonl"].splitlines() if b"s0001" in line] == []


def test_an_unexpected_exception_is_tried_again_as_often_as_allowed(toy: Toy) -> None:
    toy.faults(flaky="s0001")
    assert toy.folded() == [0, 0]
    assert toy.runs().count(("double", "s0001")) == 2
    assert toy.report("publish").stages["sum"].done == 3


def test_without_retries_it_is_not_tried_again(toy: Toy) -> None:
    toy.faults(flaky="s0001")
    toy.options = {"retries": {"perSample": 0}}
    assert toy.folded() == [0, 0]
    assert toy.runs().count(("double", "s0001")) == 1
    assert failure(toy)[0] == "RuntimeError"


def test_a_sample_error_is_not_tried_again(toy: Toy) -> None:
    toy.faults(sample_error="s0001")
    toy.folded()
    assert toy.runs().count(("double", "s0001")) == 1


def test_memory_is_freed_and_the_sample_tried_once_more(toy: Toy) -> None:
    toy.faults(memory="s0001")
    toy.options = {"retries": {"perSample": 0}}
    assert toy.folded() == [0, 0]
    assert toy.report("publish").stages["sum"].done == 3


def test_a_configuration_error_ends_the_process_with_10(toy: Toy) -> None:
    toy.faults(configuration="s0001")
    assert toy.step("double", fold_index=True) == 10
    report = toy.report("double")
    assert report.outputs == {"field": "spec.toy.factor", "value": "2", "remedy": "another one"}


def test_under_fail_the_first_failure_ends_the_process_with_20(toy: Toy) -> None:
    toy.faults(sample_error="s0001")
    assert toy.step("double", fold_index=True, on_sample_error="Fail") == 20
    assert toy.report("double").reason == "SampleFailed"
    assert ("double", "s0002") not in toy.runs()


@pytest.mark.parametrize(("limit", "code"), [("20%", 10), (0, 10), ("40%", 0), (1, 0), (None, 0)])
def test_more_failures_than_allowed_end_the_process_with_10(toy: Toy, limit: str | int | None, code: int) -> None:
    toy.faults(sample_error="s0000")
    assert toy.step("double", fold_index=True, max_failed_samples=limit) == code
    assert toy.report("double").reason == ("TooManyFailures" if code else "")


def test_a_poison_sample_is_passed_over_after_two_crashes(toy: Toy) -> None:
    toy.faults(kill="s0001")
    toy.step("index")
    assert [toy.step("double") for _ in range(3)] == [-9, -9, 0]
    assert toy.step("sum") == 0
    assert toy.step("publish") == 0
    assert failure(toy) == ("Crashed", "the process died 2 times while it worked on this sample")
    assert others_are_done(toy)
    assert ("double", "s0002") in toy.runs()


def test_a_poison_sample_is_passed_over_by_a_folded_process_too(toy: Toy) -> None:
    toy.faults(kill="s0001")
    assert [toy.step("double", fold_index=True) for _ in range(3)] == [-9, -9, 0]
    assert failure(toy)[0] == "Crashed"


def test_a_sample_that_crashed_once_is_made_the_second_time(toy: Toy) -> None:
    toy.faults(kill_once="s0001")
    assert [toy.step("double", fold_index=True) for _ in range(2)] == [-9, 0]
    assert toy.report("double").stages["double"].done == 3


def test_a_late_sample_ends_the_process_with_30_and_is_passed_over(toy: Toy) -> None:
    toy.faults(slow="s0001", seconds=60)
    started = time.monotonic()
    assert toy.step("double", fold_index=True, sample_timeout_seconds=0.5) == 30
    assert time.monotonic() - started < 20
    assert toy.report("double").reason == "Timeout"
    assert toy.step("double", sample_timeout_seconds=0.5) == 0
    assert failure(toy)[0] == "Timeout"
    assert toy.report("double").stages["double"].done == 2


def test_a_broken_implementation_ends_the_process_with_its_reason(toy: Toy) -> None:
    toy.pipeline = "toy_broken:PIPELINE"
    assert toy.step("double", fold_index=True) == ExitCode.CONFIGURATION
    assert toy.report("double").reason == PACKAGE_MISSING


def test_the_report_of_many_long_failures_fits_a_termination_message(toy: Toy) -> None:
    write_inputs(toy.input, 30)
    toy.faults(sample_error="s")
    assert toy.folded() == [0, 0]
    for step in ("double", "publish"):
        content = (toy.reports / f"{step}.report.json").read_bytes()
        assert len(content) <= MAXIMUM_REPORT_BYTES
        assert len(Report.from_bytes(content).failures) >= 15
    assert len(json.loads(content)["failures"]) == len(toy.report("publish").failures)
    assert toy.results()["dropped.csv"].count("\U0001f4a5".encode()) == 30 * 200
