"""The fast Retinex is as much faster than the plain formula as it is meant to be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "bench"))

import retinex


@pytest.mark.slow
@pytest.mark.serial
def test_blurs_are_eighty_and_the_whole_is_twenty_times_faster_on_one_core() -> None:
    found = retinex.measure(1024)
    print({name: round(value, 4) for name, value in found.items()})
    assert found["blurs_ratio"] >= 80
    assert found["retinex_ratio"] >= 20
