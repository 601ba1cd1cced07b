"""CPUs and GPUs of this machine: threads per process, and the GPUs of shards that run in parallel."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
GPU_VARIABLE = "CUDA_VISIBLE_DEVICES"
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/cpu.max"),)
_DEVICES = Path("/dev")


def available_cpus() -> int:
    """CPUs that this process may use: its affinity, limited by its cgroup."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    limits = [limit for path in _CGROUP_LIMITS if (limit := _cgroup_limit(path))]
    return max(1, min([affinity, *limits]))


def thread_environment(environment: Mapping[str, str], cpus: int) -> dict[str, str]:
    """The thread variables: as the user set them, else the number of CPUs. Floating-point sums depend on them."""
    return {name: environment.get(name) or str(cpus) for name in THREAD_VARIABLES}


def available_gpus(environment: Mapping[str, str], devices: Path = _DEVICES) -> list[str]:
    """Names of the GPUs that processes may use: those that the user names, else all of this machine.

    CUDA counts the GPUs that it sees from 0, whatever the numbers of their devices: a container may have only the last.
    """
    if GPU_VARIABLE in environment:
        return [name.strip() for name in environment[GPU_VARIABLE].split(",") if name.strip()]
    found = [path for path in devices.glob("nvidia*") if re.fullmatch("nvidia[0-9]+", path.name)]
    return [str(number) for number in range(len(found))]


def gpu_slots(gpus: Sequence[str], each: int, at_most: int, sharing: int = 1) -> list[dict[str, str]]:
    """Environments of the processes that may run in parallel, each with its GPUs.

    Args:
        gpus: of the machine. With fewer than a process needs there is one slot, and the process detects its device.
        each: GPUs per process; 0 for CPU processes, which run one at a time and use the whole machine.
        at_most: maximum number of processes (``execution.maxParallelism``).
        sharing: processes that share a GPU. Those that need several GPUs share none.
    """
    groups = [gpus[start : start + each] for start in range(0, len(gpus) - each + 1, each)] if each else []
    slots = [{GPU_VARIABLE: ",".join(group)} for group in groups] * (sharing if each == 1 else 1)
    return slots[:at_most] or [{}]


def _cgroup_limit(path: Path) -> int | None:
    try:
        quota, period = path.read_text().split()[:2]
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None
