"""Faults of the API server and of the way to it: restarts, outages, refusals, lost answers, dropped watches."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import operator_process as op
import pytest
from operator_fixtures import OBJECTS, SEED, Bench, bench, seconds_for, serving

from cluster import Faults

__all__ = ["bench", "serving"]
pytestmark = pytest.mark.slow
AWAY_SECONDS = float(os.environ.get("SCENEWRIGHT_AWAY_SECONDS", "900"))
"""Of the long outage, which only the soak has."""
WORKS_AGAIN_SECONDS = 60.0

# A watch of kopf's that is answered with 410 ends the process. It must live longer than a slow machine takes to start
# it, or it comes to nothing; each of its three watches draws anew whenever it is dropped.
FAULTS = {
    "too many requests": Faults(too_many_requests=0.2),
    "server errors": Faults(server_error=0.2),
    "lost answers": Faults(lost_answer=0.15),
    "expired": Faults(gone=0.08, watch_seconds=(3.0, 10.0)),
    "dropped watches": Faults(watch_seconds=(0.3, 2.0)),
    "slow": Faults(latency_seconds=(0.05, 0.4)),
    "all at once": Faults(0.05, 0.05, 0.05, 0.03, (0.0, 0.1), (1.0, 5.0)),
}


def check(bench: Bench, names: list[str]) -> None:
    bench.check_all_complete(bench.wait_ended(2 * seconds_for(OBJECTS)), names)
    bench.check_each_job_once(names)


@pytest.mark.parametrize(
    "kind", [kind if kind == "all at once" else pytest.param(kind, marks=pytest.mark.soak) for kind in FAULTS]
)
def test_faults_on_the_way_to_the_api_server(bench: Bench, kind: str) -> None:
    with bench.cluster.fault_proxy(SEED) as proxy:
        operator = bench.operator(proxy=proxy).start().wait_ready()
        with op.restarting(operator) as ends:
            proxy.faults = FAULTS[kind]
            # What is open was opened without faults.
            proxy.drop_watches()
            check(bench, bench.begin())
        # The fault has really been there, and only a watch that is answered with 410 ends the process, as kopf has it.
        print(dict(proxy.injected), ends)
        assert kind == "slow" or sum(proxy.injected.values()) > proxy.injected["dropped_watch"]
        assert not ends or FAULTS[kind].gone


@pytest.mark.soak
def test_the_api_server_is_restarted(bench: Bench) -> None:
    operator = bench.operator().start().wait_ready()
    names = bench.begin()
    for _ in range(2):
        time.sleep(bench.random.uniform(1.0, 4.0))
        bench.cluster.restart_api_server(down_seconds=bench.random.uniform(0.0, 5.0))
    check(bench, names)
    assert operator.running


@pytest.mark.soak
def test_etcd_is_away_for_twenty_seconds(bench: Bench) -> None:
    """Longer than the lease: the operator stops acting and begins again, for nobody else has taken over."""
    operator = bench.operator().start().wait_ready()
    names = bench.begin()
    time.sleep(3.0)
    bench.cluster.stop_etcd(20.0)
    check(bench, names)
    assert operator.running


@pytest.mark.soak
@pytest.mark.serial
@pytest.mark.timeout(AWAY_SECONDS + 900)
def test_the_api_server_is_away_for_a_quarter_of_an_hour(bench: Bench) -> None:
    """The process waits for it, alive for its probe all the time, and works again within a minute of its return."""
    operator = bench.operator().start().wait_ready()
    names = bench.begin()
    time.sleep(3.0)
    stop, dead = threading.Event(), list[str]()
    probe = threading.Thread(target=lambda: _probe(operator, stop, dead))
    probe.start()
    try:
        bench.cluster.restart_api_server(down_seconds=AWAY_SECONDS)
    finally:
        stop.set()
        probe.join()
    back, late = time.monotonic(), "scene-late"
    op.create(bench.cluster, bench.namespace, [op.chain_object(late)])
    op.eventually(lambda: any(_is_of(job, late) for job in bench.jobs()), WORKS_AGAIN_SECONDS, "a new object has a Job")
    print(f"works {time.monotonic() - back:.1f} s after the return")
    check(bench, [*names, late])
    assert operator.running
    assert not dead


def _probe(operator: op.OperatorProcess, stop: threading.Event, dead: list[str]) -> None:
    """Asks as the kubelet's liveness probe does, and notes what the kubelet would end the container for."""
    while not stop.wait(10.0):
        try:
            operator.wait_alive(seconds=20.0)
        except AssertionError as error:
            dead.append(str(error))


def _is_of(job: dict[str, Any], name: str) -> bool:
    return bool(job["metadata"]["labels"]["scenewright.io/object"] == name)


def test_watches_are_dropped_while_everything_changes(bench: Bench) -> None:
    with bench.cluster.fault_proxy(SEED) as proxy:
        bench.operator(proxy=proxy).start().wait_ready()
        names = bench.begin()
        stop = threading.Event()
        dropper = threading.Thread(target=lambda: _drop(proxy, stop))
        dropper.start()
        try:
            check(bench, names)
        finally:
            stop.set()
            dropper.join()


def _drop(proxy: op.FaultProxy, stop: threading.Event) -> None:
    while not stop.wait(1.5):
        proxy.drop_watches()
