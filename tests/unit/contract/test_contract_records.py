"""Records and sample ids: what is read is what was written, and what the merged records say."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from last_records import latest

from scenewright_stages.contract.errors import SampleError
from scenewright_stages.contract.keys import input_fingerprint, seed_for
from scenewright_stages.contract.pipeline import INPUT, Read, StageSpec
from scenewright_stages.contract.records import STARTED_LEFT_PROCESS, Deaths, OutputFile, Record, State, deaths
from scenewright_stages.contract.samples import Sample, SourceFile, is_sample_id, sample_id_from


def record(state: State, at: float = 1.0, **fields: str) -> Record:
    return Record("s", "double", "key", state, **{"run": "r", "attempt": "0-a", **fields}, at=at)  # type: ignore[arg-type]


@given(st.text(), st.floats(min_value=1e-6, max_value=2e9), st.dictionaries(st.text(), st.integers() | st.text()))
def test_a_record_survives_its_line(message: str, at: float, metrics: dict[str, int | str]) -> None:
    outputs = {"image": OutputFile("s/image.png", 12, "ff")}
    made = Record("s", "double", "k", "done", outputs=outputs, at=at, metrics=metrics, message=message)
    line = made.to_line()
    assert "\n" not in line
    assert Record.from_line(line) == made


def test_fields_of_newer_versions_are_ignored() -> None:
    line = json.dumps({**json.loads(record("done").to_line()), "colour": "red"})
    assert Record.from_line(line) == record("done")


def test_the_latest_done_counts_and_without_one_the_latest_end() -> None:
    assert latest([record("failed", 3), record("done", 1), record("done", 2), record("started", 4)])["s"].at == 2
    assert latest([record("started", 4), record("failed", 3), record("skipped", 2)])["s"].state == "failed"


@pytest.mark.parametrize(
    ("records", "count"),
    [
        ([record("started")], 1),
        ([record("started"), record("done", 2)], 0),
        ([record("started"), record("started", 2, attempt="0-b")], 2),
        ([record("started"), record("started", 2, attempt="0-b"), record("done", 3, attempt="0-b")], 1),
        ([record("started", run="another")], 0),
        ([record("started", reason=STARTED_LEFT_PROCESS)], 0),
    ],
)
def test_deaths_are_attempts_that_started_and_never_ended(records: list[Record], count: int) -> None:
    assert deaths(records, "r").get("s", Deaths()).total == count


@given(st.text())
def test_ids_of_any_stem_are_safe_or_refused(stem: str) -> None:
    try:
        made = sample_id_from(stem)
    except SampleError as problem:
        assert problem.reason == "BadSampleId"
        return
    assert is_sample_id(made)
    assert not any(part in ("", ".", "..") or part.startswith(".") for part in made.split("/"))
    assert sample_id_from(made) == made


@pytest.mark.parametrize("text", ["../x", "/x", "a/../b", "", ".", "a//b", "a\nb", "x" * 201, "a/b/c/d/e"])
def test_unsafe_ids_are_refused_when_read(text: str) -> None:
    with pytest.raises(SampleError):
        Sample.from_json({"id": text})


def test_a_sample_survives_json_and_its_fingerprint_covers_sidecars() -> None:
    source, depth = SourceFile("file:///a.png", 3, "aa"), SourceFile("file:///a.npy", 4, "bb")
    files = {"source": source, "depth": depth}
    sample = Sample("a", files, attributes={"variant": "x"}, rejected=("Bad", "why"))
    assert Sample.from_json(json.loads(json.dumps(sample.to_json()))) == sample
    stage = StageSpec("stage", 1, "m:C", (Read(INPUT),), ())
    lone = Sample("a", {"source": source})
    assert input_fingerprint(stage, sample, {}) != input_fingerprint(stage, lone, {})


def test_seeds_differ_by_job_stage_and_sample() -> None:
    seeds = {seed_for(job, stage, sample) for job in (1, 2) for stage in ("a", "b") for sample in ("x", "y")}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)
