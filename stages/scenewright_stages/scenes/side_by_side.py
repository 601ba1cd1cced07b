"""Runs independent steps in threads, because each file of a finished scene is written by one core.

PyAV, NumPy, deflate and Rerun release the interpreter's lock while they work, so that a GPU waits for the longest step
instead of for their sum. The steps must not share a renderer: the CPU renderer's kernels run in one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def side_by_side(*steps: Callable[[], object]) -> None:
    """Runs all steps to their end.

    Raises:
        Exception: that of the first step, in the order given, which failed.

    Example:
        >>> side_by_side(lambda: write_ply(scene, ply), lambda: write_flight_sheet(flight, sheet))  # doctest: +SKIP
    """
    with ThreadPoolExecutor(len(steps), thread_name_prefix="step") as pool:
        for ended in [pool.submit(step) for step in steps]:
            ended.result()
