"""Whether a sample is up to date, and which samples run: pure functions of records."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_chains import by_sample, chain_of, photo, pipeline_of
from toy_pipeline import PIPELINE

from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.pipeline import StagePod
from scenewright_stages.contract.records import OutputFile, Record
from scenewright_stages.worker.chain import Chain
from scenewright_stages.worker.index.work import plan_work
from scenewright_stages.worker.publish.pruning import kept_records, stale_files
from scenewright_stages.worker.stage.shard_plan import ShardPlanner, counting_records
from scenewright_stages.worker.states import (
    FAILED_BEFORE,
    FORCED,
    INPUT_CHANGED,
    INTERRUPTED,
    NO_RECORD,
    OUTPUTS_MISSING,
    OVERWRITTEN,
    PARAMETERS_CHANGED,
    UPSTREAM_CHANGED,
    UPSTREAM_RUNS,
    Evidence,
    SampleState,
    judge,
)
from scenewright_stages.worker.worklists import WorkItem, shard_count, shard_lines

STAGES = PIPELINE.stages(PIPELINE.parse({}))
KEYS = {"double": "k1", "sum": "k2"}
CHAIN = chain_of(PIPELINE, keys=KEYS)
SAMPLE = photo("s")
ARRAY, NOTE, RESULT, IMAGE = ".scenewright/work/s/doubled.npz", "s/note.txt", "s/result.json", "s/image.png"
DOUBLE = Record(
    "s",
    "double",
    "k1",
    "done",
    at=10,
    fingerprint="print-s",
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


def reasons(
    *records: Record, sizes: dict[str, int] | None = None, retry: bool = False, force: str = ""
) -> tuple[str, str]:
    """What the index says of both stages: the reason of a todo, else the state."""
    evidence = Evidence(by_sample(records), sizes or SIZES)
    work = plan_work(CHAIN, CHAIN.population([SAMPLE]), evidence, retry_failed=retry, forced_by=force)
    states = []
    for stage in ("double", "sum"):
        counts = work[stage].counts.model_dump()
        state = next(name for name in ("todo", "done", "failed", "skipped") if counts[name])
        states.append(work[stage].todo[0].reason if state == "todo" else state)
    return states[0], states[1]


def test_nothing_changed_nothing_runs() -> None:
    assert reasons(DOUBLE, SUM) == ("done", "done")


def test_a_forced_run_makes_everything_once() -> None:
    assert reasons(DOUBLE, SUM, force="now") == (FORCED, FORCED)
    assert reasons(force="now") == (NO_RECORD, FORCED)
    assert reasons(DOUBLE, replace(SUM, state="failed", reason="Bad"), force="now") == (FORCED, FORCED)
    # A process that died and begins again has made a part of it already.
    assert reasons(replace(DOUBLE, run="now"), SUM, force="now") == ("done", FORCED)
    assert reasons(replace(DOUBLE, run="now"), replace(SUM, run="now"), force="now") == ("done", "done")


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


def judged(chain: Chain, *records: Record, sizes: dict[str, int] | None = SIZES) -> SampleState:
    """The state of the sample in the last stage of a chain."""
    states = judge(chain, chain.population([SAMPLE]), Evidence(by_sample(records), sizes))
    return states[chain.stages[-1].name]["s"]


def declaring(*outputs: OutputContract) -> str:
    """The state in the second stage when that declares these outputs under the key of its record."""
    chain = chain_of(pipeline_of(STAGES[0], replace(STAGES[1], outputs=outputs)), keys=KEYS)
    state = judged(chain, DOUBLE, SUM)
    return state.reason or state.state


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
    chain = chain_of(pipeline_of(STAGES[0]), keys=KEYS)
    assert judged(chain, *records, sizes=None).record == DOUBLE


def planned(*records: Record, item: WorkItem, stage: str = "sum", retries: int = 1) -> tuple[int, list[str], int]:
    """Samples to run, states recorded at once, and samples that have already ended."""
    planner = ShardPlanner(CHAIN, CHAIN.stage(stage), CHAIN.population([SAMPLE]), "r", retries)
    plan = planner.plan([item], Evidence(by_sample(records)))
    return len(plan.items), [record.reason for record, _ in plan.records], len(plan.ended)


def test_a_resumed_stage_passes_over_what_this_run_ended() -> None:
    item = WorkItem(SAMPLE, NO_RECORD, after=0)
    assert planned(DOUBLE, item=item, stage="double") == (0, [], 1)
    assert planned(replace(DOUBLE, state="failed"), item=item, stage="double") == (0, [], 1)
    assert planned(item=item, stage="double") == (1, [], 0)


def test_records_older_than_the_worklist_do_not_end_a_sample_that_was_listed_for_itself() -> None:
    assert planned(DOUBLE, item=WorkItem(SAMPLE, OUTPUTS_MISSING, after=10), stage="double") == (1, [], 0)
    assert planned(replace(DOUBLE, at=10.5), item=WorkItem(SAMPLE, OUTPUTS_MISSING, after=10), stage="double") == (
        0,
        [],
        1,
    )


def test_a_sample_whose_upstream_came_out_the_same_need_not_run() -> None:
    assert planned(replace(DOUBLE, at=25), SUM, item=WorkItem(SAMPLE, UPSTREAM_RUNS, after=20)) == (0, [], 1)
    other = replace(DOUBLE, at=25, outputs={"array": OutputFile(ARRAY, 5, "cc"), "note": DOUBLE.outputs["note"]})
    assert planned(other, SUM, item=WorkItem(SAMPLE, UPSTREAM_RUNS, after=20)) == (1, [], 0)


def test_upstream_failures_and_gaps_are_skips() -> None:
    item = WorkItem(SAMPLE, UPSTREAM_RUNS)
    assert planned(replace(DOUBLE, state="failed"), item=item) == (0, ["UpstreamFailed"], 0)
    assert planned(item=item) == (0, ["UpstreamMissing"], 0)


def test_a_sample_that_took_two_attempts_down_is_passed_over() -> None:
    crashed = [replace(DOUBLE, state="started", outputs={}, run="r", attempt=name, at=11) for name in "ab"]
    item = WorkItem(SAMPLE, NO_RECORD, after=10)
    assert planned(crashed[0], item=item, stage="double") == (1, [], 0)
    assert planned(*crashed, item=item, stage="double") == (0, ["Crashed"], 0)
    assert planned(*crashed, item=item, stage="double", retries=2) == (1, [], 0)
    listed_again = WorkItem(SAMPLE, INTERRUPTED, after=12)
    assert planned(*crashed, item=listed_again, stage="double") == (0, ["Crashed"], 0)


def test_counting_records_are_the_younger_ones() -> None:
    item = WorkItem(SAMPLE, NO_RECORD, after=15)
    assert counting_records(item, [DOUBLE, replace(DOUBLE, at=16)]) == [replace(DOUBLE, at=16)]


@given(st.lists(st.text(min_size=1), max_size=60), st.integers(min_value=1, max_value=20))
def test_every_line_is_in_exactly_one_shard_of_nearly_equal_size(lines: list[str], shards: int) -> None:
    parts = [shard_lines(lines, shard, shards) for shard in range(shards)]
    assert [line for part in parts for line in part] == lines
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("todo", "size", "shards"), [(0, 4, 0), (1, 4, 1), (8, 4, 2), (9, 4, 3), (10**6, 1, 10_000)])
def test_shards_follow_the_given_size_up_to_the_limit(todo: int, size: int, shards: int) -> None:
    assert shard_count(todo, STAGES[0], size) == shards


def test_without_a_size_a_shard_takes_about_fifteen_minutes() -> None:
    assert shard_count(900, replace(STAGES[0], pod=StagePod(seconds_per_sample=10)), None) == 10


def test_worklist_lines_survive_reading() -> None:
    sample = replace(SAMPLE, attributes={"prompt": "line\u2028separator\n"})
    item = WorkItem(sample, NO_RECORD, 1700000000.123456)
    assert WorkItem.from_line(item.to_line()) == item
    assert "\n" not in item.to_line()


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
