"""Many objects: what the operator costs and how fast it is; the ranges are those of tests/bench/scale.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_BENCH = Path(__file__).parents[1] / "bench"
_BUSY = 1.5
"""Load average above which others use the machine, so that times say nothing about us."""


def measured(script: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, str(_BENCH / script), *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    print(process.stdout, process.stderr[-3000:])
    assert process.returncode == 0
    result: dict[str, Any] = json.loads(process.stdout)
    return result


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("control_plane")
@pytest.mark.soak
def test_forty_objects_stay_within_what_no_other_work_can_change() -> None:
    """Requests of work, memory and status; Argo Workflows v4 needs 28.6 requests for an object of five steps.

    The requests that come again while an object runs are limited by the second here, and in sum with the times.
    """
    found = measured("scale.py", "--objects", "40", "--without-floor", "--without-times")
    assert found["complete"] == 40
    assert found["requests"]["create jobs"] == 5 * 40
    assert found["requests_of_work_per_object"] <= found["limits"]["requests_of_work_per_object"] < 28.6
    assert found["requests_of_time_per_second"] <= found["limits"]["requests_of_time_per_second"] < 300 / 10.0


@pytest.mark.slow
@pytest.mark.serial
@pytest.mark.soak
@pytest.mark.timeout(2400)
@pytest.mark.usefixtures("control_plane")
def test_three_hundred_objects_stay_within_the_ranges() -> None:
    """With all times, beside the plain loop."""
    busy = os.getloadavg()[0] > _BUSY
    measured("scale.py", "--objects", "300", *(["--without-times"] if busy else []))


@pytest.mark.slow
@pytest.mark.serial
def test_the_caches_of_two_thousand_objects_in_flight_fit_into_memory() -> None:
    measured("operator_memory.py", "--objects", "2000")
