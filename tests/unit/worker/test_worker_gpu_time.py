"""GPU time is measured exactly, whatever runs beside what."""

from __future__ import annotations

import itertools
import threading

from hypothesis import given
from hypothesis import strategies as st

from scenewright_stages.worker.process.progress import GpuClock, GpuTime


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_loading_and_pauses_are_waiting_and_samples_are_work() -> None:
    clock = Clock()
    gpu = GpuClock(2, clock)
    for seconds, change in ((30.0, gpu.begin), (10.0, gpu.end), (5.0, gpu.begin), (20.0, gpu.end)):
        clock.now += seconds
        change()
    clock.now += 1.0
    assert gpu.total() == GpuTime(busy=60.0, waiting=72.0)


def test_samples_beside_each_other_keep_the_gpu_busy_once() -> None:
    clock = Clock()
    gpu = GpuClock(1, clock)
    for change in (gpu.begin, gpu.begin, gpu.end, gpu.end):
        change()
        clock.now += 10.0
    assert gpu.total() == GpuTime(busy=30.0, waiting=10.0)


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.sampled_from(["begin", "end", "take"])), max_size=40))
def test_what_records_take_and_the_rest_add_up_to_all(changes: list[tuple[float, str]]) -> None:
    clock, running = Clock(), 0
    gpu = GpuClock(1, clock)
    taken: list[GpuTime] = []
    for seconds, change in changes:
        clock.now += seconds
        if change == "take":
            taken.append(gpu.take())
        elif change == "begin" or running:
            getattr(gpu, change)()
            running += 1 if change == "begin" else -1
    parts = [*taken, gpu.rest()]
    elapsed = clock.now - 100.0
    assert abs(sum(part.busy + part.waiting for part in parts) - elapsed) < 1e-6
    assert abs(sum(part.busy for part in parts) - gpu.total().busy) < 1e-6


def test_a_process_without_a_gpu_measures_nothing() -> None:
    clock = Clock()
    gpu = GpuClock(0, clock)
    gpu.begin()
    clock.now += 10.0
    assert gpu.take() == GpuTime() == gpu.total()


def test_threads_lose_no_time_and_take_none_twice() -> None:
    ticks = itertools.count()
    gpu = GpuClock(1, lambda: float(next(ticks)))
    taken: list[GpuTime] = []

    def work() -> None:
        for _ in range(300):
            gpu.begin()
            gpu.end()
            taken.append(gpu.take())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shared = sum(part.busy + part.waiting for part in (*taken, gpu.rest()))
    total = gpu.total()
    assert shared == total.busy + total.waiting - 1.0, "all ticks but the last reading's own"
