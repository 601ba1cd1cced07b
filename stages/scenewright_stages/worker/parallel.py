"""Works on several things at a time, each in a thread, without ever taking more ahead than there are threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")


THREAD_VARIABLE = "OMP_NUM_THREADS"
"""Set by whoever starts the process to the number of CPUs that it may use."""
CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")
MAXIMUM_THREADS = 32


def thread_count(wanted: int, environment: Mapping[str, str] = os.environ, limit: Path = CGROUP_LIMIT) -> int:
    """The number of threads that a stage asks for; 0 asks for one for each CPU that this process may use."""
    if wanted:
        return wanted
    told = environment.get(THREAD_VARIABLE, "")
    cpus = int(told) if told.isdigit() else min(len(os.sched_getaffinity(0)), _cgroup_cpus(limit))
    return max(1, min(cpus, MAXIMUM_THREADS))


def _cgroup_cpus(limit: Path) -> int:
    """CPUs that the control group allows; a container sees all of its node's otherwise."""
    try:
        quota, period = limit.read_text().split()[:2]
        return MAXIMUM_THREADS if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return MAXIMUM_THREADS


def for_each(items: Iterable[Item], work: Callable[[Item], None], threads: int) -> None:
    """Calls `work` with every item; with one thread in the calling one, so that a debugger finds it there.

    The first exception of any call is raised once those that run have ended; no further item is taken then.
    """
    if threads == 1:
        for item in items:
            work(item)
        return
    room = threading.Semaphore(threads)
    faults: list[BaseException] = []

    def settle(future: Future[None]) -> None:
        fault = future.exception()
        if fault is not None:
            faults.append(fault)
        room.release()

    with ThreadPoolExecutor(threads, thread_name_prefix="sample") as pool:
        for item in items:
            room.acquire()
            if faults:
                room.release()
                break
            pool.submit(work, item).add_done_callback(settle)
    if faults:
        raise faults[0]
