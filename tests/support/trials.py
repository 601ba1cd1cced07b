"""Jobs that are applied to a namespace of a whole cluster, and what is seen of them there and in S3."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster import chart, trial
from cluster.chart import Target
from cluster.storage import StorageServer
from scenewright.execution.devices import thread_environment

DEADLINE = "1500s"


def environment_of_pods(storage: StorageServer, threads: int) -> dict[str, str]:
    """The environment of a local run that must give the bytes of the Pods on the same machine.

    Pods get their number of threads and no settings of BLAS. A core type set for this machine chooses other kernels,
    which round a product of two matrices otherwise.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith(("OPENBLAS_", "MKL_", "OMP_"))}
    return {**own, **storage.environment(), **thread_environment({}, threads)}


@contextlib.contextmanager
def upgraded_chart(target: Target, *arguments: str) -> Iterator[None]:
    """The installed chart with further values, its images staying; until exit."""
    where = ("--namespace", chart.NAMESPACE, "--wait", "--timeout", "120s")
    try:
        target.helm("upgrade", chart.RELEASE, str(chart.CHART), "--reuse-values", *arguments, *where)
        yield
    finally:
        target.helm("rollback", chart.RELEASE, *where)


def folder_claim(target: Target, namespace: str, name: str, folder: Path) -> None:
    """A claim of a folder of the node; its volume ``NAMESPACE-NAME`` outlives the namespace."""
    access = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    capacity = {"storage": "1Gi"}
    claim = {"namespace": namespace, "name": name}
    volume = {**access, "capacity": capacity, "hostPath": {"path": str(folder)}, "claimRef": claim}
    request = {**access, "volumeName": f"{namespace}-{name}", "resources": {"requests": capacity}}
    documents = [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"{namespace}-{name}"}, "spec": volume},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": claim, "spec": request},
    ]
    manifest = "\n---\n".join(json.dumps(each) for each in documents)
    target.kubectl("apply", "--server-side", "-f", "-", manifest=manifest)


@dataclass(frozen=True)
class Trial:
    """Jobs of one kind in one namespace.

    Attributes:
        target: a cluster with the operator.
        storage: its S3, which holds what the jobs read and write.
        namespace: of the jobs; there already (`trial.begin`).
        kind: as kubectl takes it.
    """

    target: Target
    storage: StorageServer
    namespace: str
    kind: str

    def kubectl(self, *arguments: str, manifest: str = "") -> str:
        """Runs kubectl in the namespace; see `Target.kubectl`."""
        return self.target.kubectl("--namespace", self.namespace, *arguments, manifest=manifest)

    def apply(self, job: dict[str, Any]) -> None:
        """Server-side, as the documentation demands."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", manifest=json.dumps(job))

    def wait(self, name: str, condition: str = "Complete", generation: int = 1) -> dict[str, Any]:
        """Waits until a generation of a job has come to a condition; its status.

        Raises:
            AssertionError: it has not in time; the message has what kubectl tells of it.
        """
        job, limit = f"{self.kind}/{name}", f"--timeout={DEADLINE}"
        try:
            self.kubectl("wait", f"--for=jsonpath={{.status.observedGeneration}}={generation}", job, limit)
            self.kubectl("wait", f"--for=condition={condition}", job, limit)
        except RuntimeError as error:
            raise AssertionError(f"{error}\n{self.described()}") from error
        return self.status(name)

    def status(self, name: str) -> dict[str, Any]:
        """Of a job; empty before the operator has seen it."""
        return dict(json.loads(self.kubectl("get", self.kind, name, "--output", "json")).get("status", {}))

    def described(self) -> str:
        """The end of what kubectl tells of everything here."""
        return self.kubectl("describe", f"{self.kind},jobs,pods")[-6000:]

    def listed(self, resource: str, name: str, run: str = "") -> list[dict[str, Any]]:
        """What the operator has made for a job: of all its runs, or of one."""
        selector = f"scenewright.io/object={name}" + (f",scenewright.io/run={run}" if run else "")
        return list(json.loads(self.kubectl("get", resource, "--selector", selector, "--output", "json"))["items"])

    def pods(self, name: str, run: str = "") -> list[dict[str, Any]]:
        """Pods of a job."""
        return self.listed("pods", name, run)

    def steps(self, name: str, run: str = "") -> Counter[str]:
        """How many Pods each step had."""
        return Counter(pod["metadata"]["labels"]["scenewright.io/step"] for pod in self.pods(name, run))

    def stored(self, prefix: str) -> dict[str, bytes]:
        """Every object below a prefix of the bucket of results, by its path below the prefix."""
        client, entries = self.storage.client(), self.entries(trial.SCENES, prefix)
        return {
            path: client.get_object(Bucket=trial.SCENES, Key=entry["Key"])["Body"].read()
            for path, entry in entries.items()
        }

    def entries(self, bucket: str, prefix: str) -> dict[str, Any]:
        """What a bucket lists below a prefix, by path below the prefix."""
        pages = self.storage.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
        entries = (entry for page in pages for entry in page.get("Contents", []))
        return {entry["Key"].removeprefix(f"{prefix}/"): entry for entry in entries}
