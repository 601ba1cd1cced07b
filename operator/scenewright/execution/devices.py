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
    """Names of the GPUs that processes may use: those that the user names, else all of this machine."""
    if GPU_VARIABLE in environment:
        return [name.strip() for name in environment[GPU_VARIABLE].split(",") if name.strip()]
    numbers = [path.name.removeprefix("nvidia") for path in devices.glob("nvidia[0-9]*")]
    return sorted((number for number in numbers if re.fullmatch("[0-9]+", number)), key=int)


def gpu_slots(gpus: Sequence[str], each: int, at_most: int) -> list[dict[str, str]]:
    """Environments of the processes that may run in parallel, each with its own GPUs.

    Args:
        gpus: of the machine; without any there is one slot, and the process detects its device.
        each: GPUs per process; 0 for CPU processes, which run one at a time and use the whole machine.
        at_most: maximum number of processes (``execution.maxParallelism``).
    """
    if not each or len(gpus) <= each:
        return [{}]
    groups = [gpus[start : start + each] for start in range(0, len(gpus) - each + 1, each)]
    return [{GPU_VARIABLE: ",".join(group)} for group in groups[:at_most]]


def _cgroup_limit(path: Path) -> int | None:
    try:
        quota, period = path.read_text().split()[:2]
        return None if quota == "max" else max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return None
