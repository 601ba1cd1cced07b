"""Counters: absolute, so that order, loss and repetition of pushes do not matter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fake_cluster import Pod
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scenewright.telemetry.progress.store import ProgressStore, RateWindow, StepProgress
from scenewright_stages.contract.reports import Push, PushedSamples

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)


def pod(index: int = 0, attempt: int = 0, **changes: str) -> Pod:
    created = BEGIN + timedelta(minutes=attempt)
    return Pod(uid=f"{index}-{attempt}", index=index, created_at=created, **changes)  # type: ignore[arg-type]


def push(done: int = 0, failed: int = 0, run: str = "r-1", **changes: Any) -> Push:
    samples = PushedSamples(total=100, done=done, failed=failed)
    return Push(run=run, step="depth", shard=0, samples=samples, **changes)


def totals(store: ProgressStore, now: float = 60.0) -> StepProgress:
    return store.of("owner-1", now)["depth"]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 100), st.integers(0, 100)), min_size=1, max_size=60))
def test_totals_are_the_sum_of_each_shards_last_push(pushes: list[tuple[int, int, int]]) -> None:
    store = ProgressStore(BEGIN)
    for index, done, failed in pushes:
        store.take(pod(index), push(done, failed), 0.0)
    last = {index: (done, failed) for index, done, failed in pushes}
    assert totals(store).done == sum(done for done, _ in last.values())
    assert totals(store).failed == sum(failed for _, failed in last.values())


@given(st.permutations([(0, 5), (1, 9), (0, 6), (1, 12)]))
def test_the_newest_attempt_of_a_shard_counts_whatever_the_order(order: list[tuple[int, int]]) -> None:
    store = ProgressStore(BEGIN)
    for attempt, done in order:
        store.take(pod(attempt=attempt), push(done), 0.0)
    assert totals(store).done == next(done for attempt, done in reversed(order) if attempt == 1)


def test_gpu_time_of_all_attempts_adds_up() -> None:
    store = ProgressStore(BEGIN)
    store.take(pod(), push(busy_seconds=10.0, waiting_seconds=4.0), 0.0)
    store.take(pod(), push(busy_seconds=12.0, waiting_seconds=4.0), 2.0)
    store.take(pod(attempt=1), push(busy_seconds=3.0, waiting_seconds=1.0), 4.0)
    assert (totals(store).busy_seconds, totals(store).waiting_seconds) == (15.0, 5.0)


def test_a_restarted_operator_shows_all_and_does_not_tell_of_loading_again() -> None:
    store = ProgressStore(BEGIN + timedelta(hours=1))
    assert store.take(pod(), push(busy_seconds=100.0, load_seconds=9.0), 0.0) == 0.0
    assert totals(store).busy_seconds == 100.0
    assert store.take(pod(), push(busy_seconds=102.0, load_seconds=9.0), 2.0) == 0.0


def test_a_restarted_operator_takes_nothing_for_recent_that_ended_before() -> None:
    store = ProgressStore(BEGIN + timedelta(hours=1))
    store.take(pod(), push(90, ended_here=90), 0.0)
    assert totals(store, 2.0).samples_per_minute == 0.0
    store.take(pod(), push(92, ended_here=92), 60.0)
    assert totals(store, 60.0).samples_per_minute == 2.0
    store.take(Pod(uid="new", index=1, created_at=BEGIN + timedelta(hours=2)), push(3, ended_here=3), 60.0)
    assert totals(store, 60.0).samples_per_minute == 5.0


def test_loading_is_reported_once() -> None:
    store = ProgressStore(BEGIN)
    loads = [store.take(pod(), push(load_seconds=seconds), 0.0) for seconds in (0.0, 7.0, 7.0)]
    assert loads == [0.0, 7.0, 0.0]


def test_a_next_pass_starts_the_step_afresh() -> None:
    store = ProgressStore(BEGIN)
    store.take(pod(3), push(50), 0.0)
    store.forget_step("owner-1", "depth")
    store.take(pod(0, attempt=1), push(2), 1.0)
    assert totals(store).done == 2


def test_folded_parts_are_not_counted_as_the_stage() -> None:
    store = ProgressStore(BEGIN)
    store.take(pod(), push(3).model_copy(update={"step": "index"}), 0.0)
    assert not store.of("owner-1", 0.0)


def test_nothing_is_left_of_a_run_that_ended() -> None:
    store = ProgressStore(BEGIN)
    for number in range(100):
        store.take(pod(owner_uid=f"owner-{number}"), push(), 0.0)
        store.forget(f"owner-{number}")
    assert len(store) == 0 and not store.of("owner-1", 0.0)


@pytest.mark.parametrize(("seconds", "rate"), [(3.0, 20.0), (60.0, 1.0), (600.0, 0.1)])
def test_the_rate_of_a_steady_stage_is_its_own(seconds: float, rate: float) -> None:
    window, now = RateWindow(0.0), 0.0
    for _ in range(200):
        now += seconds
        window.add(1, now)
    assert window.per_minute(now) == pytest.approx(rate, rel=0.05)


def test_the_rate_follows_a_change_and_falls_when_nothing_ends() -> None:
    window = RateWindow(0.0)
    for second in range(1, 301):
        window.add(1, float(second))
    fast = window.per_minute(300.0)
    for second in range(310, 700, 10):
        window.add(1, float(second))
    assert fast == pytest.approx(60.0, rel=0.05) and window.per_minute(690.0) == pytest.approx(6.0, rel=0.15)
    assert window.per_minute(2000.0) < 1.0


def test_samples_of_earlier_attempts_do_not_count_as_speed() -> None:
    store = ProgressStore(BEGIN)
    store.take(pod(), push(90, ended_here=0), 0.0)
    store.take(pod(), push(96, ended_here=6), 60.0)
    assert totals(store, 60.0).samples_per_minute == pytest.approx(6.0)


def test_numbers_are_those_of_the_newest_push_of_the_newest_attempt() -> None:
    store = ProgressStore(BEGIN)
    store.take(pod(attempt=1), push(numbers={"loss": 0.5, "step": 3.0}), 0.0)
    store.take(pod(attempt=1), push(numbers={"loss": 0.123456789}), 2.0)
    assert totals(store).numbers == {"loss": 0.123457, "step": 3.0}, "six digits are enough for people"
    store.take(pod(attempt=0), push(numbers={"loss": 9.0}), 4.0)
    assert totals(store).numbers["loss"] == 0.123457, "a Pod that was replaced has nothing to say"
    store.take(pod(1), push(), 6.0)
    assert totals(store).numbers == {"loss": 0.123457, "step": 3.0}


def test_never_more_numbers_are_kept_than_one_push_may_have() -> None:
    store = ProgressStore(BEGIN)
    for index in range(3):
        store.take(pod(index), push(numbers={f"n{index}_{number}": 1.0 for number in range(16)}), 0.0)
    assert set(totals(store).numbers) == {f"n2_{number}" for number in range(16)}


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_cannot_hold_are_refused(value: str) -> None:
    with pytest.raises(ValidationError, match="finite"):
        Push.model_validate_json(f'{{"run": "r", "step": "s", "shard": 0, "numbers": {{"loss": {value}}}}}')
