"""Runs the containers of simulated Pods for real: their own command and environment, as processes of this machine.

kwok starts such Pods and never ends them (behaviour ``hang``); what their processes come to is written into their
status as a kubelet does it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from job_building import container_of, literal_environment, referenced_environment
from local_kubelet import on_this_machine
from repeating import Repeating

from cluster import Behaviour, ControlPlane

PODS = "/api/v1/namespaces/{}/pods"
REAL = {"default": Behaviour(hang=True)}
"""Orders that the Pods of a namespace are left to the runner."""
INDEX = "batch.kubernetes.io/job-completion-index"
MESSAGE_BYTES = 4096
"""Of the end of a termination message: what the kubelet keeps."""


@dataclass
class Running:
    """A Pod whose container runs here."""

    pod: dict[str, Any]
    process: subprocess.Popen[bytes]
    termination: Path
    started: str

    @property
    def step(self) -> str:
        """What it does: index, a stage or publish."""
        return str(self.pod["metadata"]["labels"]["scenewright.io/step"])


class PodRunner(Repeating):
    """Runs the Pods of one namespace for as long as its block lasts.

    Args:
        cluster: where they are.
        namespace: of the Pods.
        folder: stands for their volumes.
        environment: variables that an image would have, such as where its packages are, and those of Secrets.
    """

    PASSING: ClassVar[frozenset[int]] = frozenset({404, 409, 429, 503})

    def __init__(self, cluster: ControlPlane, namespace: str, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__()
        self._cluster, self._path, self._folder = cluster, PODS.format(namespace), folder
        self._environment = environment
        self._seen: set[str] = set()
        self.running: dict[str, Running] = {}
        self.ended: list[tuple[str, int]] = []
        """Step and exit code of every process that has ended."""

    def __exit__(self, *error: object) -> None:
        try:
            super().__exit__(*error)
        finally:
            for each in self.running.values():
                _kill(each.process)

    def turn(self) -> None:
        """Starts what kwok has started, ends what was deleted, and reports what has ended."""
        pods = {pod["metadata"]["uid"]: pod for pod in self._cluster.api.get(self._path)["items"]}
        for uid, pod in pods.items():
            if uid not in self._seen and pod["status"].get("phase") == "Running":
                self._seen.add(uid)
                self.running[uid] = self._start(pod)
        for uid, each in list(self.running.items()):
            if uid not in pods or "deletionTimestamp" in pods[uid]["metadata"]:
                _kill(each.process)
                del self.running[uid]
            elif each.process.poll() is not None:
                self._report(each, pods[uid])
                self.ended.append((each.step, each.process.returncode))
                del self.running[uid]

    def log(self) -> str:
        """What all containers have printed."""
        return "".join(path.read_text(errors="replace") for path in sorted(self._folder.glob("*/log")))

    def _start(self, pod: dict[str, Any]) -> Running:
        uid, job = pod["metadata"]["uid"], {"spec": {"template": {"spec": pod["spec"]}}}
        volumes = self._folder / f"{len(self._seen):03d}-{pod['metadata']['name']}"
        scratch, termination = volumes / "scratch", volumes / "termination-log"
        (scratch / "tmp").mkdir(parents=True)
        termination.write_bytes(b"")
        environment = {
            **self._environment,
            **on_this_machine(literal_environment(job), scratch),
            # The keys of a Secret are in the environment that the runner was given.
            **{name: uid for name, source in referenced_environment(job).items() if "fieldRef" in source},
            "JOB_COMPLETION_INDEX": pod["metadata"]["annotations"][INDEX],
            "SCENEWRIGHT_TERMINATION_LOG": str(termination),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        with (volumes / "log").open("wb") as log:
            process = subprocess.Popen(
                container_of(job)["command"],
                env=environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return Running(pod, process, termination, _now())

    def _report(self, each: Running, pod: dict[str, Any]) -> None:
        """Writes the end of a process into its Pod's status."""
        code = each.process.returncode
        terminated = {
            "exitCode": code if code >= 0 else 128 - code,
            "reason": "Completed" if code == 0 else "Error",
            "message": each.termination.read_bytes()[-MESSAGE_BYTES:].decode(errors="replace"),
            "startedAt": each.started,
            "finishedAt": _now(),
        }
        containers = [
            {**container, "ready": False, "started": False, "state": {"terminated": terminated}}
            for container in pod["status"]["containerStatuses"]
        ]
        status = {"phase": "Succeeded" if code == 0 else "Failed", "containerStatuses": containers}
        self._cluster.api.merge(f"{self._path}/{pod['metadata']['name']}/status", {"status": status})


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a container: its first process and all that this one has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
