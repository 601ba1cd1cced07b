"""The least that any operator could need on this machine: the same Jobs, made by a loop that does nothing else.

The Jobs have the manifests that the operator makes, without an object that owns them. Each is created as soon as the
one before it has ended; there is no status, no Event, no check. What an operator needs beyond that is its own cost.
"""

from __future__ import annotations

import http.client
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from ssl import create_default_context
from typing import Any
from urllib.parse import urlsplit

import operator_process as op

from cluster import ControlPlane
from scenewright.execution.jobs import CreateJob, PodSettings, job_manifest
from scenewright.planning.plan import make_plan

CREATORS = 4
_SHARDS = 4
_SETTINGS = PodSettings.model_validate(
    {"images": {"cpu": "scenewright/cpu:test"}, "progress": {"url": "http://127.0.0.1:1/"}}
)
"""As the operator of the measurement has them."""


@dataclass(frozen=True)
class _Owner:
    name: str
    namespace: str
    kind: str = "SceneJob"

    @property
    def uid(self) -> str:
        return f"{self.name}-uid"


class Loop:
    """Creates the Jobs of so many chains, each when the one before it has ended.

    Args:
        steps: of a chain; those of the pipeline have four shards, the others one.
    """

    def __init__(self, cluster: ControlPlane, namespace: str, objects: int, steps: tuple[str, ...]) -> None:
        self._create = _Creator(cluster, namespace)
        self._namespace = namespace
        self._objects = objects
        self._steps = steps
        self._following: dict[str, dict[str, Any]] = {}
        self._left = objects
        self._pool = ThreadPoolExecutor(CREATORS)
        self._over = threading.Event()

    def start(self) -> None:
        """Creates the first Job of each chain; :meth:`ended` does the rest."""
        for number in range(self._objects):
            manifests = self._chain(f"scene-{number:05d}")
            for before, after in pairwise(manifests):
                self._following[before["metadata"]["name"]] = after
            self._pool.submit(self._create, manifests[0])

    def ended(self, name: str) -> None:
        """Called once for each Job that has ended."""
        following = self._following.pop(name, None)
        if following is not None:
            self._pool.submit(self._create, following)
            return
        self._left -= 1
        if not self._left:
            self._over.set()

    def wait(self, seconds: float) -> None:
        """Waits until all chains have ended.

        Raises:
            TimeoutError: they have not.
        """
        if not self._over.wait(seconds):
            raise TimeoutError(f"{self._left} of {self._objects} chains have not ended after {seconds:.0f} s")
        self._pool.shutdown()

    def _chain(self, name: str) -> list[dict[str, Any]]:
        manifest = op.chain_object(name)
        manifest["metadata"]["namespace"] = self._namespace
        plan, owner = make_plan(manifest), _Owner(name, self._namespace)
        jobs = [
            job_manifest(plan, owner, CreateJob(step, "floor-1", _SHARDS if step in op.STAGES else 1), _SETTINGS)
            for step in self._steps
        ]
        for job in jobs:
            # Nobody owns them: the garbage collector would take what belongs to an object that is not there.
            del job["metadata"]["ownerReferences"]
        return jobs


class _Creator:
    """Creates Jobs, on one connection for each thread."""

    def __init__(self, cluster: ControlPlane, namespace: str) -> None:
        self._address = urlsplit(cluster.url).netloc
        self._context = create_default_context(cafile=str(cluster.certificate_authority))
        self._headers = {
            "Authorization": f"Bearer {cluster.users['admin'].token}",
            "Content-Type": "application/json",
        }
        self._path = op.JOBS.format(namespace)
        self._of_thread = threading.local()

    def __call__(self, manifest: dict[str, Any]) -> None:
        connection = self._connection()
        connection.request("POST", self._path, json.dumps(manifest), self._headers)
        response = connection.getresponse()
        body = response.read()
        if response.status != 201:
            raise RuntimeError(body[:500].decode())

    def _connection(self) -> http.client.HTTPSConnection:
        if not hasattr(self._of_thread, "connection"):
            self._of_thread.connection = http.client.HTTPSConnection(self._address, context=self._context)
        found: http.client.HTTPSConnection = self._of_thread.connection
        return found
