"""Many objects: what the operator costs and how fast it is; the ranges are those of tests/bench/scale.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import operator_process as op
import pytest
from operator_fixtures import Bench, bench, seconds_for, serving

__all__ = ["bench", "serving"]

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
def test_thirty_objects_stay_within_the_requests(bench: Bench) -> None:
    """On a machine that others use as well; Argo Workflows v4 needs 28.6 requests for an object of five steps."""
    count = 30
    bench.operator(resyncSeconds=240).start().wait_ready()
    names = bench.begin(count, 1.0)
    bench.check_all_complete(bench.wait_ended(2 * seconds_for(count)), names)
    bench.check_each_job_once(names)
    counts = bench.cluster.audit.counts(bench.mark, user=op.USER)
    requests = {f"{verb} {resource}": number for (_, verb, resource), number in counts.items()}
    print(requests)
    # What the lease costs depends on the time alone.
    total = sum(number for name, number in requests.items() if not name.endswith("leases"))
    assert requests["create jobs"] == 5 * count
    assert total <= 16 * count
    assert max(len(json.dumps(each["status"])) for each in op.objects(bench.cluster, bench.namespace).values()) < 32_768


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
