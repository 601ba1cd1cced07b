"""Three hundred objects: what the operator costs and how fast it is; the ranges are those of tests/bench/scale.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_BENCH = Path(__file__).parents[1] / "bench"
_BUSY = 1.5
"""Load average above which others use the machine, so that times say nothing about us."""


def measured(script: str, *arguments: str) -> dict[str, object]:
    command = [sys.executable, str(_BENCH / script), *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    print(process.stdout, process.stderr[-3000:])
    assert process.returncode == 0
    result: dict[str, object] = json.loads(process.stdout)
    return result


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.soak
@pytest.mark.timeout(2400)
@pytest.mark.usefixtures("control_plane")
def test_three_hundred_objects_stay_within_the_ranges() -> None:
    busy = os.getloadavg()[0] > _BUSY
    measured("scale.py", "--objects", "300", *(["--without-times"] if busy else []))


@pytest.mark.slow
@pytest.mark.serial
def test_the_caches_of_two_thousand_objects_in_flight_fit_into_memory() -> None:
    measured("operator_memory.py", "--objects", "2000")
