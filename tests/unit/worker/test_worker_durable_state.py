"""Durable state of long work: saved as a whole, continued by the next attempt, and never mixed with other work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_chains import chain_of, photo, pipeline_of

from scenewright_stages.contract.pipeline import INPUT, Read, StageSpec
from scenewright_stages.contract.records import Deaths, Record, deaths
from scenewright_stages.store import StoredObject, StoreUnreachable
from scenewright_stages.store.local import LocalStore
from scenewright_stages.worker.publish.pruning import finished_states
from scenewright_stages.worker.stage.recording import Recorder, Start
from scenewright_stages.worker.stage.shard_plan import CRASHED, ShardPlan, ShardPlanner
from scenewright_stages.worker.stage.state import SavedState, identity, open_state
from scenewright_stages.worker.states import Evidence
from scenewright_stages.worker.worklists import WorkItem

ITEM = WorkItem(photo("s"), "no record", fingerprint="print-s", hashes={"paint": {"out": "a"}})
TRAIN = StageSpec("train", 1, "m:C", (Read(INPUT),), (), keeps_state=True)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "out")


def opened(
    store: LocalStore, tmp_path: Path, item: WorkItem = ITEM, key: str = "k", saved: list[int] | None = None
) -> SavedState:
    return open_state(store, "train", key, item, tmp_path / "copies", (saved if saved is not None else []).append)


def written(folder: Path, text: str, name: str = "weights.bin") -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return {name: folder / name}


def stored(store: LocalStore) -> list[str]:
    return [entry.key.rpartition(f"{identity(ITEM, 'k')}/")[2] for entry in store.list()]


def test_the_next_attempt_finds_what_was_saved_last(store: LocalStore, tmp_path: Path) -> None:
    told: list[int] = []
    state = opened(store, tmp_path, saved=told)
    assert (state.step, state.files) == (0, {})
    state.save(10, written(tmp_path / "w", "ten"))
    state.save(20, {**written(tmp_path / "w", "twenty"), **written(tmp_path / "w", "adam", "optimiser.bin")})
    assert (told, state.step) == ([10, 20], 20)
    found = opened(store, tmp_path)
    assert found.step == 20
    assert {name: path.read_text() for name, path in found.files.items()} == {
        "weights.bin": "twenty",
        "optimiser.bin": "adam",
    }
    assert stored(store) == ["20/optimiser.bin", "20/weights.bin", "latest.json"], "the state before is gone"


def test_a_state_is_noted_once_it_is_safe_and_not_before(store: LocalStore, tmp_path: Path) -> None:
    class Away(LocalStore):
        def put_bytes(self, key: str, data: bytes, **conditions: Any) -> StoredObject:
            raise StoreUnreachable(self.uri, "no answer", "wait")

    opened(store, tmp_path).save(10, written(tmp_path / "w", "ten"))
    told: list[int] = []
    with pytest.raises(StoreUnreachable):
        opened(Away(store.root), tmp_path, saved=told).save(20, written(tmp_path / "w", "twenty"))
    assert told == []
    found = opened(store, tmp_path)
    assert (found.step, found.files["weights.bin"].read_text()) == (10, "ten")


@pytest.mark.parametrize("step", [9, 10])
def test_steps_grow(store: LocalStore, tmp_path: Path, step: int) -> None:
    state = opened(store, tmp_path)
    state.save(10, written(tmp_path / "w", "ten"))
    with pytest.raises(ValueError, match="not beyond the last saved step 10"):
        state.save(step, written(tmp_path / "w", "other"))


@pytest.mark.parametrize(
    ("item", "key"),
    [
        (replace(ITEM, fingerprint="other"), "k"),
        (replace(ITEM, hashes={"paint": {"out": "b"}}), "k"),
        (ITEM, "k2"),
    ],
)
def test_a_state_of_other_parameters_or_data_is_not_continued_and_that_is_said(
    store: LocalStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], item: WorkItem, key: str
) -> None:
    opened(store, tmp_path).save(10, written(tmp_path / "w", "ten"))
    assert opened(store, tmp_path, item, key).step == 0
    assert "made of other parameters or data" in capsys.readouterr().out
    assert opened(store, tmp_path).step == 10
    assert "continues from the state saved at step 10" in capsys.readouterr().out


def test_a_sample_does_not_find_the_state_of_another_one(store: LocalStore, tmp_path: Path) -> None:
    opened(store, tmp_path).save(10, written(tmp_path / "w", "ten"))
    assert opened(store, tmp_path, replace(ITEM, sample=photo("t"))).step == 0


@pytest.mark.parametrize("damage", ["cut", "gone", "latest"])
def test_a_damaged_state_counts_as_none_and_can_be_saved_over(
    store: LocalStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    opened(store, tmp_path).save(10, written(tmp_path / "w", "ten"))
    weights = next(store.root.rglob("weights.bin"))
    latest = next(store.root.rglob("latest.json"))
    if damage == "cut":
        weights.write_text("te")
    elif damage == "gone":
        weights.unlink()
    else:
        latest.write_text('{"step": 10')
    state = opened(store, tmp_path)
    assert (state.step, state.files) == (0, {})
    assert "damaged" in capsys.readouterr().out
    state.save(5, written(tmp_path / "w", "five"))
    assert opened(store, tmp_path).files["weights.bin"].read_text() == "five"


def test_publish_removes_the_states_of_done_samples_and_no_others(store: LocalStore, tmp_path: Path) -> None:
    for name in ("s", "s/inner", "t"):
        opened(store, tmp_path, replace(ITEM, sample=photo(name))).save(10, written(tmp_path / "w", name))
    sizes = {entry.key: entry.size for entry in store.list()}
    gone = finished_states("train", {"s"}, sizes)
    assert len(gone) == 2 and all(path.startswith(".scenewright/state/train/s/") for path in gone)
    assert not any("inner" in path for path in gone)


def died(attempt: str, step: int = 0, at: float = 1.0) -> Record:
    return Record("s", "train", "k", "started", "run", attempt, at=at, state_step=step)


@pytest.mark.parametrize(
    ("records", "total"),
    [
        ([died("a"), died("b", at=2)], 2),
        ([died("a"), died("b", 10, at=2)], 1),
        ([died("a"), died("b", 10, at=2), died("c", 10, at=3)], 2),
        ([died("c", 10, at=3), died("a"), died("b", 10, at=2), died("d", 20, at=4)], 1),
        ([died("a", 10), died("b", 0, at=2), died("c", 0, at=3)], 3),
    ],
)
def test_a_state_that_advanced_forgives_earlier_deaths_and_one_that_was_lost_does_not(
    records: list[Record], total: int
) -> None:
    assert deaths(records, "run")["s"] == Deaths(total, total)


def planned(records: list[Record], stage: StageSpec = TRAIN, retries: int = 1) -> ShardPlan:
    chain = chain_of(pipeline_of(stage), keys={"train": "k"})
    planner = ShardPlanner(chain, stage, chain.population([photo("s")]), "run", retries)
    return planner.plan([WorkItem(photo("s"), "no record")], Evidence({"train": {"s": records}}))


def test_three_deaths_at_one_state_give_a_sample_up() -> None:
    two = [died("a", 10), died("b", 10, at=2)]
    assert [item.suspected for item in planned(two).items] == [True]
    three = [*two, died("c", 10, at=3)]
    assert [record.reason for record, _ in planned(three).records] == [CRASHED]
    assert planned([*three, died("d", 20, at=4)]).records == []
    assert planned(three, retries=4).records == []
    assert [record.reason for record, _ in planned(two, replace(TRAIN, keeps_state=False)).records] == [CRASHED]


def test_a_saved_step_is_noted_with_the_running_sample_at_once(store: LocalStore) -> None:
    recorder = Recorder(store, "train", "k", "run", 0, "pod")
    recorder.start(Start("s", 0.0))
    recorder.advance("s", 10)
    (mark,) = [Record.from_line(line) for entry in store.list() for line in store.get_bytes(entry.key).decode().split()]
    assert (mark.state, mark.state_step) == ("started", 10)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_never_more_deaths_are_counted_than_there_were_and_at_least_the_last(steps: list[int]) -> None:
    records = [died(str(number), step, at=number) for number, step in enumerate(steps)]
    found = deaths(records, "run")["s"].total
    best = max(steps)
    assert found == len(steps) - (steps.index(best) if best else 0)
