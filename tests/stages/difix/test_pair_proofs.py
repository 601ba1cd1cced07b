"""Pairs of real spoilt trainings (`make proofs`): most of them pass the gates, and every planted fault is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pair_data import PARAMS, PairData, add_capture, photographs_of
from synthetic import box_room, finer

from scenewright_stages.contract.errors import SampleRejected
from scenewright_stages.difix.gates import measure, sharpness
from scenewright_stages.difix.pairs_data import LoadedPair, load_pair, read_pairs
from scenewright_stages.difix.params import GateParams

pytestmark = pytest.mark.proof
Bytes = NDArray[np.uint8]
ROOMS = 3
STRATEGIES = {"sparse": [3, 6], "underfit": [10], "cycle": [10], "crossCamera": True}
FAULTS = 20
"""Of each of the five kinds: 100 in all."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PairData:
    found = PairData(tmp_path_factory.mktemp("pairs"))
    params = PARAMS.model_validate({
        **PARAMS.model_dump(by_alias=True),
        "strategies": STRATEGIES,
        "split": {"testFraction": 0.0},
    })  # fmt: skip
    for seed in range(ROOMS):
        add_capture(
            found, f"room{seed}", photographs_of(finer(box_room(seed), 4), 18, (96, 72), seed, cameras=3), params
        )
    found.write_index()
    return found


def test_most_of_what_is_rendered_passes(data: PairData) -> None:
    rates = data.pass_rates()
    rendered = len(data.rows) + len(data.dropped)
    histogram = sorted(Counter(int(row["psnr"]) for row in data.rows).items())
    print(f"\n{len(data.rows)} of {rendered} pairs pass; {rates}; dropped {Counter(data.dropped)}; dB {histogram}")
    assert set(rates) == {"sparse", "underfit", "cycle", "crossCamera"}
    assert min(rates.values()) >= 0.5
    assert len(data.rows) / rendered >= 0.8


def test_every_planted_fault_is_dropped_with_its_reason(data: PairData) -> None:
    files = read_pairs(data.root, "train")
    random = np.random.default_rng(0)
    reasons: Counter[tuple[str, str]] = Counter()
    for fault, (plant, allowed) in PLANTED.items():
        for number in random.choice(len(files), FAULTS, replace=False):
            pair = load_pair(files[number])
            usual = sharpness(as_bytes(pair.target))
            reason = reason_of(*plant(pair, random), usual)
            reasons[fault, reason] += 1
            assert reason in allowed, (fault, files[number].name)
    print(f"\n{dict(reasons)}")
    assert sum(reasons.values()) >= 100


Planted = tuple[NDArray[np.float32], Bytes, Bytes]
"""Render, target and reference."""


def as_bytes(values: NDArray[np.float32]) -> Bytes:
    return np.asarray(np.round(values * 255), np.uint8)


def reason_of(render: NDArray[np.float32], target: Bytes, reference: Bytes, usual: float) -> str:
    """Why the gates drop it; empty when it passes."""
    try:
        measure(render, np.ones(render.shape[:2], np.float32), target, reference, usual, GateParams())
    except SampleRejected as problem:
        return problem.reason
    return ""


def reference_of(pair: LoadedPair) -> Bytes:
    return as_bytes(pair.target[:, ::-1].copy())


def moved(pair: LoadedPair, random: np.random.Generator) -> Planted:
    """A good render from a pose that is 2 pixels off: nothing but the pose is wrong."""
    shift = [(2, 0), (-2, 0), (0, 2), (0, -2), (2, 2)][int(random.integers(5))]
    good = np.clip(pair.target + random.normal(0, 0.05, pair.target.shape), 0, 1).astype(np.float32)
    return np.roll(good, shift, axis=(0, 1)), as_bytes(pair.target), reference_of(pair)


def blurred(pair: LoadedPair, random: np.random.Generator) -> Planted:
    return pair.view.srgb, np.asarray(cv2.GaussianBlur(as_bytes(pair.target), (0, 0), 4), np.uint8), reference_of(pair)


def black(pair: LoadedPair, random: np.random.Generator) -> Planted:
    return pair.view.srgb, np.zeros(pair.target.shape, np.uint8), reference_of(pair)


def broken(pair: LoadedPair, random: np.random.Generator) -> Planted:
    render = pair.view.srgb.copy()
    render[int(random.integers(render.shape[0])), int(random.integers(render.shape[1]))] = np.nan
    return render, as_bytes(pair.target), reference_of(pair)


def own_reference(pair: LoadedPair, random: np.random.Generator) -> Planted:
    return pair.view.srgb, as_bytes(pair.target), as_bytes(pair.target)


Plant = Callable[[LoadedPair, np.random.Generator], Planted]
PLANTED: dict[str, tuple[Plant, set[str]]] = {
    "pose 2 px off": (moved, {"Misregistered", "TooFar"}),
    "blurred target": (blurred, {"Blurred"}),
    "black target": (black, {"Flat"}),
    "not finite": (broken, {"NotFinite"}),
    "reference is target": (own_reference, {"ReferenceIsTarget"}),
}


def test_a_data_set_is_the_same_bytes_again(tmp_path: Path) -> None:
    written = []
    for name in ("a", "b"):
        data = PairData(tmp_path / name)
        add_capture(data, "room", photographs_of(box_room(0), 12, (64, 48), 0), PARAMS)
        data.write_index()
        files = [path for path in sorted(data.root.rglob("*")) if path.is_file() and ".workspaces" not in path.parts]
        written.append({path.relative_to(data.root): path.read_bytes() for path in files})
    assert len(written[0]) > 20
    assert written[0] == written[1]
