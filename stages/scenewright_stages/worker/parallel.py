"""Works on several things at a time, each in a thread, without ever taking more ahead than there are threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


def thread_count(wanted: int) -> int:
    """The number of threads that a stage asks for; 0 asks for one for each CPU that this process may use."""
    return wanted or len(os.sched_getaffinity(0))


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
