"""Stages that expand samples and work on several at a time, in real processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_harness import Toy

from scenewright_stages.contract.errors import ExitCode

SAMPLES = 5
CHILDREN = [f"s{number:04d}_{ending}" for number in range(SAMPLES) for ending in "ab"]


@pytest.fixture
def family(tmp_path: Path) -> Toy:
    """A job of five samples that become ten."""
    job = Toy(tmp_path / "job", samples=SAMPLES, pipeline="toy_family:PIPELINE")
    job.faults()
    return job


def ids(family: Toy) -> list[str]:
    return [json.loads(line)["id"] for line in family.results()["manifest.jsonl"].splitlines()]


def test_children_are_made_of_the_samples_that_were_expanded(family: Toy) -> None:
    assert family.folded() == [0, 0]
    assert ids(family) == CHILDREN
    assert sorted(family.runs()) == sorted(
        [("double", f"s{number:04d}") for number in range(SAMPLES)] + [("sum", child) for child in CHILDREN]
    )
    stages = family.report("publish").stages
    assert (stages["double"].done, stages["sum"].done) == (SAMPLES, len(CHILDREN))
    seeds = {json.loads(family.results()[f"{child}/result.json"])["seed"] for child in CHILDREN}
    assert len(seeds) == len(CHILDREN), "every child draws for itself"


def test_an_unchanged_run_has_nothing_to_do_and_a_lost_result_is_made_again(family: Toy) -> None:
    assert family.folded() == [0, 0]
    family.forget_runs()
    (family.output / "s0002_b" / "result.json").unlink()
    family.new_run()
    assert family.folded() == [0, 0]
    assert family.runs() == [("sum", "s0002_b")]
    assert ids(family) == CHILDREN


def test_children_of_a_failed_sample_are_skipped_and_both_are_reported(family: Toy) -> None:
    family.faults(sampleError="s0003")
    assert family.folded() == [0, 0]
    assert ids(family) == [child for child in CHILDREN if not child.startswith("s0003")]
    dropped = family.results()["dropped.csv"].decode()
    assert "s0003,double,ToyBroken" in dropped
    assert "s0003_b,double,UpstreamFailed,s0003 failed in double: ToyBroken" in dropped
    stages = family.report("publish").stages
    assert (stages["double"].failed, stages["sum"].skipped) == (1, 2)


def test_a_sample_that_kills_its_process_is_found_among_those_that_ran_beside_it(family: Toy) -> None:
    family.faults(kill="s0003")
    codes = [family.step("double", fold_index=True)]
    while codes[-1] != 0 and len(codes) < 6:
        codes.append(family.step("double", fold_index=True))
    assert codes == [-9, -9, 0], "once together, once alone, then it is passed over"
    assert family.step("sum", fold_publish=True) == 0
    assert ids(family) == [child for child in CHILDREN if not child.startswith("s0003")]
    assert "s0003,double,Crashed" in family.results()["dropped.csv"].decode()


def test_one_that_takes_too_long_ends_the_process_and_the_others_are_made(family: Toy) -> None:
    family.faults(deaf="s0001", seconds=30)
    family.options = {"sampleTimeoutSeconds": 1}
    assert family.step("double", fold_index=True) == ExitCode.SAMPLE_TIMEOUT
    assert family.step("double", fold_index=True) == 0
    assert family.step("sum", fold_publish=True) == 0
    assert ids(family) == [child for child in CHILDREN if not child.startswith("s0001")]
    assert "s0001,double,Timeout" in family.results()["dropped.csv"].decode()


def test_a_request_to_end_leaves_what_is_done_and_blames_nobody(family: Toy) -> None:
    family.faults(slow="s", seconds=60)
    process = family.start("double", {"SCENEWRIGHT_GRACE_SECONDS": "3"}, fold_index=True)
    while not family.runs():
        assert process.poll(0.05) is None
    process.signal(15)
    assert process.wait(20) == ExitCode.TERMINATED
    assert family.records("double") == []
    family.faults()
    assert family.folded() == [0, 0]
    assert ids(family) == CHILDREN
