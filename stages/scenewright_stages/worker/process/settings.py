"""Settings of a worker process from its environment, apart from its task."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.forks import LIVENESS_PIPE_ENVIRONMENT
from scenewright_stages.contract.task import SHARD_ENVIRONMENT
from scenewright_stages.worker.process.progress import GPUS_ENVIRONMENT
from scenewright_stages.worker.process.pushing import PushTarget
from scenewright_stages.worker.process.watchdog import HANG_SECONDS

DEFAULT_TERMINATION_LOG = Path("/dev/termination-log")
DEFAULT_GRACE_SECONDS = 25.0
"""Below the 30 s that Kubernetes grants by default."""


@dataclass(frozen=True)
class ProcessSettings:
    """The environment of one worker process.

    Attributes:
        shard: number of its part of the worklist, from 0.
        attempt: name of this process, unique among all attempts at the shard.
        scratch: folder for fetched inputs and workspaces.
        grace_seconds: longest time from a request to end until the exit.
        report_folder: folder for a copy of every step's report, if any.
        termination_log: file for the last report, if any.
        progress_file: file for the current counters, if any.
        parent_descriptor: read end of a pipe that closes when the parent dies, if there is one.
        holder_process: process whose life keeps the output's lock valid on this host.
        gpus: number of GPUs the process holds.
        push_target: where to push counters, if anywhere.
        in_pod: whether it runs in a cluster.
        hang_seconds: how long Python code may be blocked before the process is ended.
    """

    shard: int
    attempt: str
    scratch: Path
    grace_seconds: float
    report_folder: Path | None
    termination_log: Path | None
    progress_file: Path | None
    parent_descriptor: int | None
    holder_process: int
    gpus: int = 0
    push_target: PushTarget | None = None
    in_pod: bool = False
    hang_seconds: float = HANG_SECONDS

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ProcessSettings:
        """Reads the variables that the package's documentation lists.

        Raises:
            ConfigurationError: a variable is not a number.
        """
        pod = environment.get("SCENEWRIGHT_POD") or "local"
        termination = environment.get("SCENEWRIGHT_TERMINATION_LOG")
        if termination is None and DEFAULT_TERMINATION_LOG.exists():
            termination = str(DEFAULT_TERMINATION_LOG)
        parent = environment.get(LIVENESS_PIPE_ENVIRONMENT)
        return cls(
            shard=int(_number(environment, SHARD_ENVIRONMENT, 0)),
            attempt=f"{_file_name_part(pod)}-{uuid.uuid4().hex[:8]}",
            scratch=Path(environment.get("SCENEWRIGHT_SCRATCH") or tempfile.gettempdir()),
            grace_seconds=_number(environment, "SCENEWRIGHT_GRACE_SECONDS", DEFAULT_GRACE_SECONDS),
            report_folder=_path(environment.get("SCENEWRIGHT_REPORT_DIR")),
            termination_log=_path(termination),
            progress_file=_path(environment.get("SCENEWRIGHT_PROGRESS_FILE")),
            parent_descriptor=int(parent) if parent else None,
            holder_process=int(_number(environment, "SCENEWRIGHT_HOLDER_PID", os.getpid())),
            gpus=int(_number(environment, GPUS_ENVIRONMENT, 0)),
            push_target=PushTarget.from_environment(environment),
            in_pod=bool(environment.get("SCENEWRIGHT_POD")),
            hang_seconds=_number(environment, "SCENEWRIGHT_HANG_SECONDS", HANG_SECONDS),
        )


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name)
    if not text:
        return default
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(name, text, "must be a number") from None


def _file_name_part(text: str) -> str:
    return "".join(character if character.isalnum() else "-" for character in text)[:40]
