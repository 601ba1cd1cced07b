"""Whether a sample is up to date, and which samples run: pure functions of records."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_pipeline import PIPELINE

from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.records import OutputFile, Record
from scenewright_stages.contract.samples import Sample, SourceFile
from scenewright_stages.worker.publish.pruning import kept_records, stale_files
from scenewright_stages.worker.stage.shard_plan import counting_records, make_agenda
from scenewright_stages.worker.states import (
    FAILED_BEFORE,
    INPUT_CHANGED,
    INTERRUPTED,
    NO_RECORD,
    OUTPUTS_MISSING,
    OVERWRITTEN,
    PARAMETERS_CHANGED,
    UPSTREAM_CHANGED,
    UPSTREAM_RUNS,
    chain_standings,
)
from scenewright_stages.worker.worklists import Todo, plan_work, shard_count, shard_lines

STAGES = PIPELINE.stages(PIPELINE.parse({}))
KEYS = {"double": "k1", "sum": "k2"}
BOTH = frozenset(KEYS)
SAMPLE = Sample("s", SourceFile("file:///s.txt", 3, "print"))
ARRAY, NOTE, RESULT, IMAGE = ".scenewright/work/s/doubled.npz", "s/note.txt", "s/result.json", "s/image.png"
DOUBLE = Record(
    "s",
    "double",
    "k1",
    "done",
    at=10,
    fingerprint="print",
    outputs={"array": OutputFile(ARRAY, 5, "aa"), "note": OutputFile(NOTE, 6, "ab")},
)
SUM = Record(
    "s",
    "sum",
    "k2",
    "done",
    at=20,
    upstream={"double": {"array": "aa"}},
    outputs={"result": OutputFile(RESULT, 7, "bb"), "image": OutputFile(IMAGE, 8, "bc")},
)
SIZES = {ARRAY: 5, NOTE: 6, RESULT: 7, IMAGE: 8}


def reasons(*records: Record, sizes: dict[str, int] | None = None, retry: bool = False) -> tuple[str, str]:
    """What the index says of both stages: the reason of a todo, else the state."""
    histories = {stage: {"s": [one for one in records if one.stage == stage]} for stage in KEYS}
    work = plan_work(STAGES, KEYS, BOTH, [SAMPLE], histories, sizes or SIZES, retry_failed=retry)
    states = []
    for stage in ("double", "sum"):
        counts = work[stage].counts.model_dump()
        state = next(name for name in ("todo", "done", "failed", "skipped") if counts[name])
        states.append(work[stage].todo[0].reason if state == "todo" else state)
    return states[0], states[1]


def test_nothing_changed_nothing_runs() -> None:
    assert reasons(DOUBLE, SUM) == ("done", "done")


def test_reasons_of_a_first_run() -> None:
    assert reasons() == (NO_RECORD, UPSTREAM_RUNS)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ((replace(DOUBLE, key="old"), SUM), (PARAMETERS_CHANGED, UPSTREAM_RUNS)),
        ((replace(DOUBLE, fingerprint="other"), SUM), (INPUT_CHANGED, UPSTREAM_RUNS)),
        ((DOUBLE, replace(SUM, upstream={"double": {"array": "zz"}})), ("done", UPSTREAM_CHANGED)),
        ((DOUBLE, SUM, replace(SUM, key="other", at=30)), ("done", OVERWRITTEN)),
        ((DOUBLE, SUM, replace(SUM, key="other", state="started", at=30)), ("done", OVERWRITTEN)),
        ((DOUBLE, SUM, replace(SUM, state="started", at=30)), ("done", INTERRUPTED)),
        ((DOUBLE, SUM, replace(SUM, key="other", at=15)), ("done", "done")),
        ((DOUBLE, SUM, replace(SUM, key="other", state="skipped", at=30)), ("done", "done")),
        ((DOUBLE, replace(SUM, state="started")), ("done", INTERRUPTED)),
        ((DOUBLE, replace(SUM, state="failed", reason="Bad")), ("done", "failed")),
        ((replace(DOUBLE, state="failed", outputs={}),), ("failed", "skipped")),
        ((replace(DOUBLE, state="failed"), replace(DOUBLE, at=11), SUM), ("done", "done")),
        ((DOUBLE, SUM, replace(SUM, state="failed", at=30)), ("done", "failed")),
    ],
)
def test_what_changed_is_the_reason(records: tuple[Record, ...], expected: tuple[str, str]) -> None:
    assert reasons(*records) == expected


@pytest.mark.parametrize("sizes", [{ARRAY: 5, NOTE: 6, IMAGE: 8}, {**SIZES, RESULT: 6}])
def test_missing_and_cut_files_are_made_again(sizes: dict[str, int]) -> None:
    assert reasons(DOUBLE, SUM, sizes=sizes) == ("done", OUTPUTS_MISSING)


def test_what_lost_its_files_is_listed_for_itself_although_something_above_runs_again() -> None:
    """Or the stage would take the record for the files, should what it reads come out the same."""
    assert reasons(DOUBLE, SUM, sizes={IMAGE: 8}) == (OUTPUTS_MISSING, OUTPUTS_MISSING)
    assert reasons(DOUBLE, SUM, sizes={RESULT: 7, IMAGE: 8}) == (OUTPUTS_MISSING, UPSTREAM_RUNS)


def declaring(*outputs: OutputContract) -> str:
    """How the second stage stands when it declares these outputs under the key of its record."""
    stages = (STAGES[0], replace(STAGES[1], outputs=outputs))
    histories = {"double": {"s": [DOUBLE]}, "sum": {"s": [SUM]}}
    standing = chain_standings(stages, KEYS, SAMPLE, histories, SIZES)["sum"]
    return standing.reason or standing.state


def test_a_stage_runs_again_for_files_that_are_newly_wanted_and_not_for_those_that_no_longer_are() -> None:
    result, image = STAGES[1].outputs
    assert declaring(result, image) == declaring(result) == "done"
    assert declaring(result, image, OutputContract("more", "{sample}/more.txt", "text")) == OUTPUTS_MISSING
    assert declaring(result, image, OutputContract("more", "{sample}/more.txt", "text", optional=True)) == "done"
    assert declaring(result, replace(image, path="elsewhere/{sample}.png")) == OUTPUTS_MISSING


def test_failures_run_again_when_asked_with_all_that_reads_them() -> None:
    failed = replace(DOUBLE, state="failed", outputs={})
    assert reasons(failed, retry=True) == (FAILED_BEFORE, UPSTREAM_RUNS)


def test_a_failure_of_other_input_is_no_failure() -> None:
    failed = replace(DOUBLE, state="failed", outputs={}, fingerprint="other")
    assert reasons(failed) == (INPUT_CHANGED, UPSTREAM_RUNS)


@given(st.permutations([DOUBLE, replace(DOUBLE, key="old", at=5), replace(DOUBLE, state="failed", at=7)]))
def test_the_order_of_reading_does_not_matter(records: list[Record]) -> None:
    standing = chain_standings(STAGES[:1], KEYS, SAMPLE, {"double": {"s": records}}, None)["double"]
    assert standing.record == DOUBLE


def agenda(*records: Record, todo: Todo, stage: int = 2, allowed: int = 2) -> tuple[int, list[str], int]:
    """Samples to run, states recorded at once, and samples that have already ended."""
    histories = {name: {"s": [one for one in records if one.stage == name]} for name in KEYS}
    made = make_agenda(STAGES[:stage], KEYS, [todo], histories, "r", allowed)
    return len(made.assignments), [record.reason for record, _ in made.records], len(made.ended)


def test_a_resumed_stage_passes_over_what_this_run_ended() -> None:
    todo = Todo(SAMPLE, NO_RECORD, after=0)
    assert agenda(DOUBLE, todo=todo, stage=1) == (0, [], 1)
    assert agenda(replace(DOUBLE, state="failed"), todo=todo, stage=1) == (0, [], 1)
    assert agenda(todo=todo, stage=1) == (1, [], 0)


def test_records_older_than_the_worklist_do_not_end_a_sample_that_was_listed_for_itself() -> None:
    assert agenda(DOUBLE, todo=Todo(SAMPLE, OUTPUTS_MISSING, after=10), stage=1) == (1, [], 0)
    assert agenda(replace(DOUBLE, at=10.5), todo=Todo(SAMPLE, OUTPUTS_MISSING, after=10), stage=1) == (0, [], 1)


def test_a_sample_whose_upstream_came_out_the_same_need_not_run() -> None:
    assert agenda(replace(DOUBLE, at=25), SUM, todo=Todo(SAMPLE, UPSTREAM_RUNS, after=20)) == (0, [], 1)
    other = replace(DOUBLE, at=25, outputs={"array": OutputFile(ARRAY, 5, "cc"), "note": DOUBLE.outputs["note"]})
    assert agenda(other, SUM, todo=Todo(SAMPLE, UPSTREAM_RUNS, after=20)) == (1, [], 0)


def test_upstream_failures_and_gaps_are_skips() -> None:
    todo = Todo(SAMPLE, UPSTREAM_RUNS)
    assert agenda(replace(DOUBLE, state="failed"), todo=todo) == (0, ["UpstreamFailed"], 0)
    assert agenda(todo=todo) == (0, ["UpstreamMissing"], 0)


def test_a_sample_that_took_two_attempts_down_is_passed_over() -> None:
    crashed = [replace(DOUBLE, state="started", outputs={}, run="r", attempt=name, at=11) for name in "ab"]
    todo = Todo(SAMPLE, NO_RECORD, after=10)
    assert agenda(crashed[0], todo=todo, stage=1) == (1, [], 0)
    assert agenda(*crashed, todo=todo, stage=1) == (0, ["Crashed"], 0)
    assert agenda(*crashed, todo=todo, stage=1, allowed=3) == (1, [], 0)
    listed_again = Todo(SAMPLE, INTERRUPTED, after=12)
    assert agenda(*crashed, todo=listed_again, stage=1) == (0, ["Crashed"], 0)


def test_counting_records_are_the_younger_ones() -> None:
    todo = Todo(SAMPLE, NO_RECORD, after=15)
    assert counting_records(todo, [DOUBLE, replace(DOUBLE, at=16)]) == [replace(DOUBLE, at=16)]


@given(st.lists(st.text(min_size=1), max_size=60), st.integers(min_value=1, max_value=20))
def test_every_line_is_in_exactly_one_shard_of_nearly_equal_size(lines: list[str], shards: int) -> None:
    parts = [shard_lines(lines, shard, shards) for shard in range(shards)]
    assert [line for part in parts for line in part] == lines
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("todo", "size", "shards"), [(0, 4, 0), (1, 4, 1), (8, 4, 2), (9, 4, 3), (10**6, 1, 10_000)])
def test_shards_follow_the_given_size_up_to_the_limit(todo: int, size: int, shards: int) -> None:
    assert shard_count(todo, STAGES[0], size) == shards


def test_without_a_size_a_shard_takes_about_fifteen_minutes() -> None:
    assert shard_count(900, replace(STAGES[0], seconds_per_sample=10), None) == 10


def test_worklist_lines_survive_reading() -> None:
    sample = replace(SAMPLE, attributes={"prompt": "line\u2028separator\n"})
    todo = Todo(sample, NO_RECORD, 1700000000.123456)
    assert Todo.from_line(todo.to_line()) == todo
    assert "\n" not in todo.to_line()


def test_compaction_keeps_what_the_next_index_decides_by() -> None:
    old = replace(DOUBLE, key="old", at=5)
    kept = kept_records({"s": [old, DOUBLE, DOUBLE, replace(DOUBLE, state="started", at=9)]}, "k1", "r", SIZES)
    assert kept == {"k1": [DOUBLE]}


def test_compaction_keeps_the_last_word_of_another_key_while_its_files_are_there() -> None:
    assert kept_records({"s": [DOUBLE]}, "new", "r", SIZES) == {"k1": [DOUBLE]}
    assert kept_records({"s": [DOUBLE]}, "new", "r", {}) == {}


def test_compaction_keeps_starts_that_make_older_records_worthless() -> None:
    start = replace(DOUBLE, key="other", state="started", outputs={}, at=30, run="r")
    kept = kept_records({"s": [DOUBLE, start]}, "k1", "another run", SIZES)
    assert kept == {"k1": [DOUBLE], "other": [start]}


def test_compaction_keeps_all_repetitions_of_the_same_work() -> None:
    again = replace(DOUBLE, at=12, attempt="other")
    assert kept_records({"s": [DOUBLE, again]}, "k1", "r", SIZES) == {"k1": [DOUBLE, again]}


def test_only_files_that_we_named_are_stale() -> None:
    sizes = {ARRAY: 5, "mine": 1, "before": 2, NOTE: 3, "t/note.txt": 3, "kept": 1}
    histories = {"double": {"s": [DOUBLE]}}
    assert stale_files(["kept"], ["before", "gone", "kept"], STAGES, histories, sizes) == [
        ARRAY,
        "before",
        NOTE,
    ]
