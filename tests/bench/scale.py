"""What the operator costs and how fast it is with many objects: one command, one JSON document, ranges asserted.

    python tests/bench/scale.py                    300 objects as fast as they can be created
    python tests/bench/scale.py --objects 2000 --per-second 20 --pods 30 90
    python tests/bench/scale.py --objects 2000 --burst

Each object has an index, three GPU stages of four shards and a publish step: five Jobs and fourteen Pods, nothing
folded, Events on. Pods are simulated. Everything runs on this machine, so that its load is in the times, and in the
requests that come again while an object runs: reads, the Lease, writes of mere progress. The others are requests of
work; they and memory do not depend on the load. What part of a time is the machine's tells the floor: the same Jobs
made by a plain loop, in a control plane of its own just before (scale_floor.py).
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from ssl import create_default_context
from typing import Any

_ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(_ROOT / "tools"), str(_ROOT / "tests" / "support")]

import operator_process as op  # noqa: E402
from plugins import add_plugins  # noqa: E402
from scale_floor import Loop  # noqa: E402
from scale_probe import Probe  # noqa: E402

from cluster import ControlPlane, Settings  # noqa: E402

add_plugins(gpuChain="gpu_chain_pipeline:PIPELINE")

NAMESPACE = "scale"
CHAIN = ("index", "paint", "shape", "polish", "publish")
LIMITS = {
    "requests_per_object": 16.0,
    "requests_of_work_per_object": 15.5,
    "requests_of_time_per_second": 7.0,
    "cpu_milliseconds_per_object": 100.0,
    "makespan_over_floor": 1.6,
    "control_plane_cpu_over_floor": 1.5,
    "end_to_create_p99_seconds": 1.0,
    "first_jobs_seconds": 120.0,
    "loop_lag_p99_seconds": 0.5,
    "lease_lapses": 0.0,
    "peak_megabytes": 200.0,
    "status_bytes": 32 * 1024.0,
}
"""Upper ends; Argo Workflows v4 needs 49 requests and 179 ms for one object of fourteen Pods.

Of time: two writes of progress a second, a Lease of ten seconds every 2.5, and reads. 300 objects that were each
written every ten seconds, without a bound for all of them together, would need 30 a second.
"""
_OF_TIME = ("_seconds", "_milliseconds_per_object", "makespan_over_floor", "requests_per_object")
_OF_SHORT_PODS = ("requests_per_object", "cpu_milliseconds_per_object")
LEAST = {"makespan_over_floor": 0.7, "control_plane_cpu_over_floor": 0.9}
"""Lower ends: an operator that needs less than the plain loop shows that the loop was not measured rightly."""
_ROOMY = Settings(4, gpus=10_000)
"""Room for all Pods at once: else the scheduler tries those that found none again at each end, with half a core."""
_STATUS_WRITES = ("written", "progress", "conflict", "error")
_CREATORS = 4
_SCRAPE_SECONDS = 30.0
_LOOP_SECONDS = 0.0125
"""CPU time of the calibration loop on the machine for which the limits were set."""


@dataclass
class Result:
    """One measurement; None for what was not measured."""

    objects: int
    mode: str
    complete: int = 0
    created_seconds: float = 0.0
    makespan_seconds: float | None = None
    floor_makespan_seconds: float | None = None
    makespan_over_floor: float | None = None
    control_plane_cpu_over_floor: float | None = None
    requests_per_object: float | None = None
    requests_of_work_per_object: float | None = None
    requests_of_time_per_second: float | None = None
    requests: dict[str, int] = field(default_factory=dict)
    status_writes: dict[str, int] = field(default_factory=dict)
    cpu_milliseconds_per_object: float | None = None
    cpu_of_this_machine: float = 0.0
    end_to_create_p50_seconds: float | None = None
    end_to_create_p99_seconds: float | None = None
    first_jobs_seconds: float | None = None
    first_job_longest_wait_seconds: float | None = None
    loop_lag_p99_seconds: float | None = None
    lease_lapses: int | None = None
    peak_megabytes: float | None = None
    status_bytes: float | None = None
    reconciles_per_object: float | None = None
    control_plane_cpu_seconds: dict[str, float] = field(default_factory=dict)
    floor_control_plane_cpu_seconds: dict[str, float] = field(default_factory=dict)


class JobWatcher:
    """Notes when each Job's end is seen by somebody who watches as the operator does.

    Args:
        tell: called with the name of each Job that has ended.
    """

    def __init__(self, cluster: ControlPlane, tell: Callable[[str], None] = lambda _name: None) -> None:
        self.ended: dict[str, float] = {}
        self._cluster = cluster
        self._tell = tell
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        url = f"{self._cluster.url}{op.JOBS.format(NAMESPACE)}?watch=true&timeoutSeconds=7200"
        token = self._cluster.users["admin"].token
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
        context = create_default_context(cafile=str(self._cluster.certificate_authority))
        while self._cluster.api_server.pid is not None:
            # The API server ends a watch whose reader gets no processor time; the next one begins with all Jobs.
            with suppress(OSError, HTTPException), urllib.request.urlopen(request, context=context) as answer:
                for line in answer:
                    self._take(line)
            time.sleep(0.1)

    def _take(self, line: bytes) -> None:
        if b'"completionTime"' not in line:
            return
        name = json.loads(line)["object"]["metadata"]["name"]
        if name not in self.ended:
            self.ended[name] = time.time()
            self._tell(name)

    def chains_ended(self) -> int:
        """How many objects have had their last Job."""
        return sum(name.endswith(CHAIN[-1]) for name in list(self.ended))


def main() -> int:
    """Measures, prints the JSON, and returns 1 when a limit is exceeded."""
    arguments = _arguments()
    result = Result(arguments.objects, "burst" if arguments.burst else "flow")
    if not (arguments.burst or arguments.without_floor or arguments.per_second):
        with _plane(arguments) as (cluster, _):
            _floor(cluster, arguments, result)
    with _plane(arguments) as (cluster, folder):
        op.install(cluster)
        measure = _burst if arguments.burst else _flow
        measure(cluster, folder, arguments, result)
    exceeded = _exceeded(result, arguments)
    print(json.dumps(asdict(result) | {"limits": LIMITS, "exceeded": exceeded}, indent=2))
    return 1 if exceeded else 0


@contextmanager
def _plane(arguments: argparse.Namespace) -> Iterator[tuple[ControlPlane, Path]]:
    """A control plane of its own, so that each measurement begins with an empty one."""
    with tempfile.TemporaryDirectory() as name, ControlPlane.start(Path(name) / "c", _ROOMY) as cluster:
        cluster.create_namespace(NAMESPACE)
        cluster.simulate(NAMESPACE, op.behaviours(tuple(arguments.pods)))
        yield cluster, Path(name)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--objects", type=int, default=300)
    parser.add_argument("--per-second", type=float, default=0.0, help="creations; 0: as fast as possible")
    parser.add_argument("--pods", type=float, nargs=2, default=(1.0, 1.0), metavar=("LOW", "HIGH"), help="seconds")
    parser.add_argument("--burst", action="store_true", help="the objects are there before the operator")
    parser.add_argument("--without-floor", action="store_true", help="do not measure the plain loop first")
    parser.add_argument("--patience", type=float, default=1800.0, help="seconds until everything has to be over")
    parser.add_argument(
        "--without-times", action="store_true", help="assert no limit of time: for machines that others use as well"
    )
    return parser.parse_args()


def _floor(cluster: ControlPlane, arguments: argparse.Namespace, result: Result) -> None:
    loop = Loop(cluster, NAMESPACE, arguments.objects, CHAIN)
    JobWatcher(cluster, loop.ended)
    before, began = cluster.cpu_seconds(), time.monotonic()
    loop.start()
    loop.wait(arguments.patience)
    result.floor_makespan_seconds = time.monotonic() - began
    result.floor_control_plane_cpu_seconds = _cpu_since(cluster, before)


def _flow(cluster: ControlPlane, folder: Path, arguments: argparse.Namespace, result: Result) -> None:
    watcher = JobWatcher(cluster)
    with op.operator_on(cluster, folder) as operator:
        with _measured(cluster, operator, result) as mark:
            began = time.monotonic()
            _create(cluster, arguments)
            result.created_seconds = time.monotonic() - began
            _wait_complete(watcher, operator, arguments)
            result.makespan_seconds = time.monotonic() - began
        result.complete = int(operator.metric("scenewright_jobs", phase="Complete"))
        _note_latencies(cluster, mark, watcher, result)
        _compare(result)
        result.status_bytes = _largest_status(cluster)


def _compare(result: Result) -> None:
    if result.makespan_seconds is None or result.floor_makespan_seconds is None:
        return
    result.makespan_over_floor = result.makespan_seconds / result.floor_makespan_seconds
    ours, floors = result.control_plane_cpu_seconds, result.floor_control_plane_cpu_seconds
    result.control_plane_cpu_over_floor = sum(ours.values()) / sum(floors.values())


def _burst(cluster: ControlPlane, folder: Path, arguments: argparse.Namespace, result: Result) -> None:
    _create(cluster, arguments)
    operator = op.OperatorProcess(cluster, folder)
    mark, began = cluster.audit.mark(), datetime.now(UTC)
    operator.start()
    try:
        times: list[datetime] = []

        def all_there() -> bool:
            nonlocal times
            times = [each.answered_at for each in _creations(cluster, mark) if each.name.endswith("-index")]
            return bool(len(times) >= arguments.objects)

        with Probe(operator) as probe:
            op.eventually(all_there, arguments.patience, "every object has its first Job", 5.0)
        result.loop_lag_p99_seconds, result.lease_lapses = probe.lag_p99, probe.lapses
        # From the start of the process: until then nobody could know that it is late.
        result.first_jobs_seconds = (max(times) - began).total_seconds()
        result.first_job_longest_wait_seconds = (max(times) - min(times)).total_seconds()
        result.peak_megabytes = operator.peak_megabytes()
        result.complete = int(operator.metric("scenewright_jobs", phase="Complete"))
    finally:
        operator.kill()


@contextmanager
def _measured(cluster: ControlPlane, operator: op.OperatorProcess, result: Result) -> Iterator[int]:
    """Fills in what the work of the block has cost."""
    before, cpu, mark = cluster.cpu_seconds(), operator.cpu_seconds(), cluster.audit.mark()
    speed, began = _loop_seconds(), time.monotonic()
    yield mark
    seconds = time.monotonic() - began
    result.cpu_milliseconds_per_object = (operator.cpu_seconds() - cpu) / result.objects * 1000
    result.peak_megabytes = operator.peak_megabytes()
    result.control_plane_cpu_seconds = _cpu_since(cluster, before)
    counts = cluster.audit.counts(mark, user=op.USER)
    result.requests = {f"{verb} {resource}": count for (_, verb, resource), count in sorted(counts.items())}
    result.requests_per_object = sum(counts.values()) / result.objects
    writes = {each: int(operator.metric("scenewright_status_writes_total", result=each)) for each in _STATUS_WRITES}
    result.status_writes = writes
    changes = sum(count for (_, verb, _), count in counts.items() if verb in ("create", "patch", "delete"))
    work = changes - writes["progress"]
    result.requests_of_work_per_object = work / result.objects
    result.requests_of_time_per_second = (sum(counts.values()) - work) / seconds
    result.reconciles_per_object = operator.metric("scenewright_reconcile_total") / result.objects
    result.cpu_of_this_machine = round(min(speed, _loop_seconds()) / _LOOP_SECONDS, 2)


def _cpu_since(cluster: ControlPlane, before: dict[str, float]) -> dict[str, float]:
    return {name: round(seconds - before[name], 1) for name, seconds in cluster.cpu_seconds().items()}


def _create(cluster: ControlPlane, arguments: argparse.Namespace) -> None:
    began = time.monotonic()

    def one(number: int) -> None:
        if arguments.per_second:
            time.sleep(max(0.0, began + number / arguments.per_second - time.monotonic()))
        cluster.api.create(op.OBJECTS.format(NAMESPACE), op.chain_object(f"scene-{number:05d}"))

    with ThreadPoolExecutor(_CREATORS) as pool:
        list(pool.map(one, range(arguments.objects)))


def _wait_complete(watcher: JobWatcher, operator: op.OperatorProcess, arguments: argparse.Namespace) -> None:
    """By the Jobs' ends, then by the operator's own count: both ask the API server for nothing.

    Before the last end it is asked as seldom as Prometheus asks: each scrape is work of the operator's.
    """
    total, scraped = int(arguments.objects), time.monotonic()

    def over() -> bool:
        nonlocal scraped
        if watcher.chains_ended() < total and time.monotonic() - scraped < _SCRAPE_SECONDS:
            return False
        scraped = time.monotonic()
        phases = operator.phases()
        return sum(phases.get(phase, 0.0) for phase in op.ENDED) >= total

    op.eventually(over, arguments.patience, "every object has ended", 0.5)


def _creations(cluster: ControlPlane, mark: int) -> Iterator[Any]:
    for request in cluster.audit.requests(mark, user=op.USER):
        if (request.verb, request.resource, request.code) == ("create", "jobs", 201):
            yield request


def _note_latencies(cluster: ControlPlane, mark: int, watcher: JobWatcher, result: Result) -> None:
    """From the sight of a Job's end to the request that creates the next Job of the same object."""
    received = {each.name: each.received_at.timestamp() for each in _creations(cluster, mark)}
    waits: list[float] = []
    for name, at in received.items():
        stem, _, step = name.rpartition("-")
        previous = CHAIN.index(step) - 1
        ended = watcher.ended.get(f"{stem}-{CHAIN[previous]}") if previous >= 0 else None
        if ended is not None:
            waits.append(max(0.0, at - ended))
    if len(waits) >= 100:
        cuts = statistics.quantiles(waits, n=100)
        result.end_to_create_p50_seconds, result.end_to_create_p99_seconds = round(cuts[49], 3), round(cuts[98], 3)


def _largest_status(cluster: ControlPlane) -> float:
    items = cluster.api.get(op.OBJECTS.format(NAMESPACE))["items"]
    return float(max(len(json.dumps(each.get("status", {}))) for each in items))


def _loop_seconds() -> float:
    """CPU time of a fixed piece of Python, the best of several."""

    def once() -> float:
        began = time.process_time()
        sum(range(1_000_000))
        return time.process_time() - began

    return min(once() for _ in range(10))


def _exceeded(result: Result, arguments: argparse.Namespace) -> list[str]:
    values = {name: value for name, value in asdict(result).items() if value is not None}
    upper, lower = (
        {name: limit for name, limit in limits.items() if name in values and _is_judged(name, result, arguments)}
        for limits in (LIMITS, LEAST)
    )
    found = [f"{name}: {values[name]:.3g} > {limit:g}" for name, limit in upper.items() if values[name] > limit]
    found += [f"{name}: {values[name]:.3g} < {limit:g}" for name, limit in lower.items() if values[name] < limit]
    if result.mode == "flow" and result.complete != result.objects:
        found.append(f"complete: {result.complete} of {result.objects}")
    return found


def _is_judged(name: str, result: Result, arguments: argparse.Namespace) -> bool:
    if arguments.without_times and name.endswith(_OF_TIME):
        return False
    # With long Pods status and Lease are written as long as they run.
    return not (name in _OF_SHORT_PODS and arguments.pods[1] > 1.0)


if __name__ == "__main__":
    sys.exit(main())
