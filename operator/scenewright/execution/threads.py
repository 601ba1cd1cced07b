"""How many threads the stage processes use: fixed by the environment, because sums depend on how they are cut."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/cpu.max"),)


def available_cpus() -> int:
    """CPUs that this process may use: its affinity, and its control group's limit where there is one."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    limits = [limit for path in _CGROUP_LIMITS if (limit := _cgroup_limit(path))]
    return max(1, min([affinity, *limits]))


def thread_environment(environment: Mapping[str, str], cpus: int) -> dict[str, str]:
    """The thread variables: as the user set them, else the number of CPUs."""
    return {name: environment.get(name) or str(cpus) for name in THREAD_VARIABLES}


def _cgroup_limit(path: Path) -> int | None:
    try:
        quota, period = path.read_text().split()[:2]
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None
