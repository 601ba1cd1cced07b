"""Shards: none is lost, none is too small to pay for loading a model, and a stage never has too many."""

from __future__ import annotations

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from scenewright_stages.contract.pipeline import StagePod
from scenewright_stages.vistadream.params import VistaDreamParams
from scenewright_stages.vistadream.pipeline import depth_stage
from scenewright_stages.worker.worklists import MAXIMUM_SHARDS, shard_count, shard_lines

STAGE = depth_stage(VistaDreamParams())


@given(samples=st.integers(0, 10**7), seconds=st.floats(0, 1e5), requested=st.none() | st.integers(1, 10**6))
@settings(max_examples=300, deadline=None)
def test_counts_stay_within_the_limit_and_follow_the_request(
    samples: int, seconds: float, requested: int | None
) -> None:
    shards = shard_count(samples, dataclasses.replace(STAGE, pod=StagePod(seconds_per_sample=seconds)), requested)
    assert (shards == 0) == (samples == 0)
    assert shards <= min(samples, MAXIMUM_SHARDS)
    if requested and samples and samples <= requested * MAXIMUM_SHARDS:
        assert (shards - 1) * requested < samples <= shards * requested


def test_a_shard_takes_ten_to_twenty_minutes_by_default() -> None:
    for seconds in (1.0, 7.0, 60.0, 250.0):
        shards = shard_count(10_000, dataclasses.replace(STAGE, pod=StagePod(seconds_per_sample=seconds)), None)
        assert 600 <= 10_000 / shards * seconds <= 1200


@given(lines=st.integers(1, 200), shards=st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_every_line_of_a_worklist_is_in_exactly_one_shard(lines: int, shards: int) -> None:
    worklist = [str(line) for line in range(lines)]
    parts = [shard_lines(worklist, shard, shards) for shard in range(shards)]
    assert [line for part in parts for line in part] == worklist
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
