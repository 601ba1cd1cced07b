"""The benchmark of relighting with large models goes through the pipeline as it is now (without the models)."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from benchmarks import load_benchmark
from numpy.typing import NDArray

from scenewright_stages.backends.segment.interface import Subject
from scenewright_stages.vision.imaging.matting import NoSubject


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    return load_benchmark("relight_h200")


class Nobody:
    def segment(self, srgb: NDArray[np.float32], subject: Subject) -> NDArray[np.float32]:
        raise NoSubject("random weights see nobody")


class Facing:
    def estimate(self, srgb: NDArray[np.float32], alpha: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.broadcast_to(np.float32([0, 0, -1]), srgb.shape).astype(np.float32)


def test_a_photograph_goes_the_whole_way(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "SIDE", 96)
    (picture,) = benchmark.pictures(1)
    models, host = benchmark.Models(Nobody(), Facing()), benchmark.HostTime()
    sizes = {seed: benchmark.relight(picture, seed, models, host) for seed in (0, 0, 1)}
    assert all(size > 4 * 96 for size in sizes.values())
    assert sizes[0] != sizes[1], "another light is another picture"
