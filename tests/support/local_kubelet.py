"""Runs a Job's own command and environment as local processes, and the same object by `scenewright run`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from agreement import assert_numbers_agree
from job_building import Create, Owned, container_of, literal_environment, pod_of, referenced_environment
from plugins import with_plugins
from summaries import comparable

from scenewright.execution.jobs import PodSettings, job_manifest, volumes
from scenewright.planning.plan import make_plan
from scenewright_stages.contract.reports import Report


@dataclass
class Kubelet:
    """Runs the containers of Jobs as processes whose whole environment is the container's.

    Attributes:
        folder: stands for the Pod's volumes.
        document: of the object.
        owner: the object's identity.
        settings: of all Pods.
        plugins: further pipelines, as :mod:`plugins` names them.
        pods: how many ran.
    """

    folder: Path
    document: dict[str, Any]
    owner: Owned
    settings: PodSettings
    plugins: Mapping[str, str] = field(default_factory=dict)
    pods: int = 0

    def start(self, step: str, index: int = 0, **create: Any) -> subprocess.Popen[bytes]:
        """Starts the Pod of an index."""
        job = job_manifest(make_plan(self.document), self.owner, Create(step, **create), self.settings)
        self.pods += 1
        volumes = self.folder / f"pod-{self.pods}"
        scratch, self.termination = volumes / "scratch", volumes / "termination-log"
        (scratch / "tmp").mkdir(parents=True)
        self.termination.write_bytes(b"")
        environment = {
            **on_this_machine(literal_environment(job), scratch),
            **dict.fromkeys(referenced_environment(job), f"pod-{self.pods}"),
            "JOB_COMPLETION_INDEX": str(index),
            "SCENEWRIGHT_TERMINATION_LOG": str(self.termination),
            # A checkout below /tmp is not the Pod's /tmp.
            **with_plugins(**self.plugins),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        assert pod_of(job)["restartPolicy"] == "Never"
        command = container_of(job)["command"]
        return subprocess.Popen(command, env=environment, cwd="/", stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def run(self, step: str, index: int = 0, **create: Any) -> Report:
        """Runs the Pod of an index to its end; its termination message."""
        process = self.start(step, index, **create)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
        return Report.from_bytes(self.termination.read_bytes())

    def run_all(self) -> Report:
        """What the operator does: index, every stage that has something to do, publish."""
        index = self.run("index")
        for stage in make_plan(self.document).selected:
            counts = index.stages[stage]
            for shard in range(counts.shards if counts.todo else 0):
                self.run(stage, shard, shards=counts.shards)
        return self.run("publish")


def on_this_machine(environment: dict[str, str], scratch: Path) -> dict[str, str]:
    """The variables with the paths that stand here for those of the container's volumes."""
    places = {volumes.SCRATCH: str(scratch), volumes.TEMPORARY: str(scratch / "tmp")}
    found = dict(environment)
    for name, value in environment.items():
        for inside, here in places.items():
            if value == inside or value.startswith(f"{inside}/"):
                found[name] = here + value.removeprefix(inside)
    return found


def run_locally(folder: Path, document: dict[str, Any], **plugins: str) -> None:
    """`scenewright run` with the threads of the Pods; `plugins` are further pipelines."""
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(document))
    variables = {**os.environ, **with_plugins(**plugins), "OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
    command = [sys.executable, "-c", "from scenewright.cli.main import main; main()", "run", str(path)]
    done = subprocess.run(command, env=variables, capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_numbers_agree(document["spec"]["output"]["uri"], terminal=done.stdout.decode())


def published_files(output: Path) -> dict[str, bytes]:
    """Every file that ``published.json`` names but the report, which has times in it; the summary without its times."""
    names = json.loads((output / ".scenewright" / "published.json").read_text())["files"]
    return {name: comparable(name, (output / name).read_bytes()) for name in names if not name.endswith("report.html")}
