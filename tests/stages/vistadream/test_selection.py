"""Selection of the next view: equal to an exhaustive reading of the rules on ten thousand random cases."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from scenewright_stages.contract.records import Record
from scenewright_stages.vistadream.diagnostics import CoarseSummary, ExtraFrame, diagnose
from scenewright_stages.vistadream.report import extra_views
from scenewright_stages.vistadream.selection import Band, Choice, select_pose


def brute_force(ratios: list[float], chosen: list[int], band: Band) -> Choice | None:
    """The rules read literally: try every pose, keep the best by comparing each pair."""
    allowed = []
    for i, ratio in enumerate(ratios):
        blocked = False
        for used in chosen:
            for step in range(-band.adjacent_exclusion, band.adjacent_exclusion + 1):
                blocked = blocked or used + step == i
        if not blocked and not math.isnan(ratio) and not math.isinf(ratio):
            allowed.append(i)
    best = None
    for i in allowed:
        if ratios[i] < band.minimum or ratios[i] > band.maximum:
            continue
        if best is None or ratios[i] > ratios[best]:
            best = i
    if best is not None:
        return Choice(best, ratios[best], False)
    if band.fallback == "none":
        return None
    for i in allowed:
        if ratios[i] <= 0:
            continue
        if best is None:
            best = i
            continue
        mine = max(band.minimum - ratios[i], ratios[i] - band.maximum)
        other = max(band.minimum - ratios[best], ratios[best] - band.maximum)
        if mine < other or (mine == other and ratios[i] > ratios[best]):
            best = i
    return None if best is None else Choice(best, ratios[best], True)


def random_case(rng: random.Random) -> tuple[list[float], list[int], Band]:
    count = rng.choice([0, 1, 2, 5, 12, 30])
    grid = [0.0, 0.02, 0.05, 0.1, 0.25, 0.3, 0.9, math.nan, math.inf]
    ratios = [rng.choice(grid) if rng.random() < 0.5 else rng.random() * 0.5 for _ in range(count)]
    chosen = rng.sample(range(count), k=rng.randint(0, min(count, 3)))
    low = rng.choice([0.0, 0.05, 0.1])
    band = Band(low, low + rng.choice([0.0, 0.1, 0.2]), rng.randint(0, 3), rng.choice(["none", "closest"]))
    return ratios, chosen, band


def test_selection_equals_brute_force_on_ten_thousand_random_cases() -> None:
    rng = random.Random(7)
    outcomes = set()
    for _ in range(10_000):
        ratios, chosen, band = random_case(rng)
        expected = brute_force(ratios, chosen, band)
        assert select_pose(ratios, chosen, band) == expected, (ratios, chosen, band)
        outcomes.add(None if expected is None else expected.by_fallback)
    assert outcomes == {None, True, False}, "the cases must cover a choice, a fallback and no choice"


def test_plain_argmax_would_break_the_band() -> None:
    ratios = [0.06, 0.6, 0.2]
    assert select_pose(ratios, [], Band()) == Choice(2, 0.2, False)
    assert max(range(3), key=ratios.__getitem__) == 1


@pytest.mark.parametrize(
    ("ratios", "chosen", "band", "cause"),
    [
        ([0.01, 0.02], [], Band(), "HolesTooSmall"),
        ([0.5, 0.6], [], Band(), "HolesTooLarge"),
        ([0.01, 0.2, 0.01], [0], Band(adjacent_exclusion=1), "BlockedByAdjacency"),
        ([0.01, 0.6], [], Band(), "BandMissed"),
        ([0.5], [0], Band(), "NoPoseLeft"),
        ([math.nan], [], Band(), "NoPoseLeft"),
    ],
)
def test_diagnosis_names_the_cause_and_its_remedy(
    ratios: list[float], chosen: list[int], band: Band, cause: str
) -> None:
    assert select_pose(ratios, chosen, band) is None
    diagnosis = diagnose(ratios, chosen, band, 0)
    assert diagnosis.cause == cause
    assert diagnosis.remedy in diagnosis.text()
    assert all(line.startswith("[COARSE][DIAG] ") for line in diagnosis.text().splitlines())


def test_diagnosis_counts_match_the_seed_format() -> None:
    diagnosis = diagnose([0.01, 0.04, 0.3, 0.2], [3], Band(adjacent_exclusion=0), 2)
    assert "counts(valid): below_min=2 in_range=0 above_max=1 (in_range_without_adj=0)" in diagnosis.text()
    assert "top4(idx:ratio)=2:0.3000, 3:0.2000, 1:0.0400, 0:0.0100" in diagnosis.text()


def test_a_loop_that_filled_everything_is_a_success_and_warns_of_nothing() -> None:
    added = ExtraFrame(1, 0.2, 100, 90, 0, 90, by_fallback=False, final_loss=0.1)
    filled = diagnose([0.01, 0.0, 0.02, 0.04], [1], Band(), 1)
    assert filled.cause == "NothingLeft" and "every hole of the band is filled" in filled.text()
    summary = CoarseSummary(3, (added,), filled, scene_frames=3, gaussian_frames=3, total_splats=10)
    assert summary.warnings() == []
    assert "selected_extra_frames=1/3" in summary.text()
    open_hole = diagnose([0.01, 0.0, 0.02, 0.5], [1], Band(), 1)
    assert replace(summary, diagnosis=open_hole).warnings()


def test_zero_extra_frames_is_a_warning_never_quiet() -> None:
    diagnosis = diagnose([0.01], [], Band(), 0)
    summary = CoarseSummary(3, (), diagnosis, scene_frames=2, gaussian_frames=2, total_splats=10)
    assert any("added no view" in warning for warning in summary.warnings())
    assert "[COARSE] Summary selected_extra_frames=0/3" in summary.text()
    assert summary.to_json()["diagnosis"]["mean"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("added", "warnings", "passes"), [(3, [], True), (2, [], None), (2, ["added 2 of 3 views"], False)]
)
def test_the_page_calls_fewer_views_a_miss_only_if_holes_were_left(
    added: int, warnings: list[str], passes: bool | None
) -> None:
    metrics = {"selected_extra_frames": added, "requested_extra_frames": 3}
    shown = extra_views(Record("a", "coarse", "key", "done", metrics=metrics, warnings=warnings))
    assert (shown.value, shown.passes) == (added, passes)
