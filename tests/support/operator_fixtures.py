"""Fixtures of an operator at work in one namespace, and what must hold after every fault."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import operator_process as op
import pytest

from cluster import ControlPlane, simulation

OBJECTS = int(os.environ.get("SCENEWRIGHT_FAULT_OBJECTS", "4"))
"""Objects of each fault test; ``make soak`` sets 100."""
SHARDS = int(os.environ.get("SCENEWRIGHT_FAULT_SHARDS", "2"))
"""Pods of each stage; the control plane needs about 75 ms of CPU for each Pod."""
SEED = int(os.environ.get("SCENEWRIGHT_FAULT_SEED", "1"))
PODS = "/api/v1/namespaces/{}/pods"
PROGRESS = "48/48"
"""Of a complete object: 16 samples in each of three stages."""
SECONDS_EACH = 5.0
"""Time that a loaded two-core machine takes for one object, its share of the control plane included."""
_REMINDER_SECONDS = 15.0


@pytest.fixture(scope="session")
def serving(control_plane: ControlPlane) -> ControlPlane:
    """A control plane that knows our kinds."""
    op.install(control_plane)
    return control_plane


@dataclass
class Bench:
    """Objects in one namespace and the operator that serves it alone."""

    cluster: ControlPlane
    namespace: str
    folder: Path
    random: random.Random = field(default_factory=lambda: random.Random(SEED))
    operators: list[op.OperatorProcess] = field(default_factory=list)
    mark: int = 0

    def operator(self, name: str = "operator-0", **overrides: Any) -> op.OperatorProcess:
        """Another operator for this namespace; not started."""
        proxy = overrides.pop("proxy", None)
        lease = {"namespace": op.SYSTEM, "name": f"lease-{self.namespace}", "seconds": 10}
        settings = {"watchNamespaces": [self.namespace], "lease": lease, "resyncSeconds": 20, **overrides}
        made = op.OperatorProcess(self.cluster, self.folder, name, proxy, settings)
        self.operators.append(made)
        return made

    def begin(
        self,
        count: int = OBJECTS,
        seconds: float | tuple[float, float] | None = (0.5, 3.0),
        output: Callable[[int], str] = lambda number: "",
    ) -> list[str]:
        """Creates objects whose Pods take so long (None: as was ordered before); returns their names.

        Args:
            output: where the object of a number writes to; an empty text is a place of its own.
        """
        print(f"seed {SEED}, {count} objects, {SHARDS} Pods of {seconds} s a stage")
        self.mark = self.cluster.audit.mark()
        if seconds is not None:
            self.cluster.simulate(self.namespace, op.behaviours(seconds, shards=SHARDS))
        names = [f"scene-{number:03d}" for number in range(count)]
        op.create(self.cluster, self.namespace, (op.chain_object(name, output(i)) for i, name in enumerate(names)))
        return names

    def phases(self) -> dict[str, str]:
        """Phase of every object."""
        return op.phases(self.cluster, self.namespace)

    def wait_ended(self, seconds: float) -> dict[str, str]:
        """Waits until every object has ended, and returns the phases."""
        looked = time.monotonic()

        def look() -> bool:
            nonlocal looked
            if time.monotonic() - looked > _REMINDER_SECONDS:
                looked = time.monotonic()
                for name in simulation.remind_of_overdue(self.cluster.api, self.namespace):
                    print(f"forgotten by the simulated kubelet: {name}")
            return all(phase in op.ENDED for phase in self.phases().values())

        try:
            op.eventually(look, seconds, "every object has ended", 1.0)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.explain()}") from None
        return self.phases()

    def explain(self) -> str:
        """What hangs, for the failure's message."""
        lines = []
        for name, each in op.objects(self.cluster, self.namespace).items():
            status = each.get("status", {})
            if status.get("phase") not in op.ENDED:
                conditions = {c["type"]: c.get("reason") for c in status.get("conditions", []) if c["status"] == "True"}
                lines.append(f"{name}: {status.get('phase')} {status.get('stage')} {conditions}")
        logs = [made.log.read_text()[-2500:] for made in self.operators if made.log.exists()]
        return "\n".join([*lines[:10], *self._live_pods()[:10], *logs])

    def _live_pods(self) -> list[str]:
        """Pods that have not ended: where they are, and what is known of them."""
        found = []
        for pod in self.pods():
            status, metadata = pod["status"], pod["metadata"]
            if status["phase"] in ("Pending", "Running"):
                conditions = {c["type"]: c.get("message", "") for c in status.get("conditions", [])}
                where = pod["spec"].get("nodeName", "on no node")
                deleted = metadata.get("deletionTimestamp", "")
                found.append(f"{metadata['name']}: {status['phase']} {where} deleted {deleted or 'not'} {conditions}")
        return found

    def created_jobs(self) -> Counter[str]:
        """How often each Job was created since the beginning."""
        found: Counter[str] = Counter()
        for request in self.cluster.audit.requests(self.mark):
            if (request.verb, request.resource, request.namespace) == ("create", "jobs", self.namespace):
                found[request.name] += request.code == 201
        return found

    def jobs(self) -> list[dict[str, Any]]:
        """The Jobs that are there."""
        items: list[dict[str, Any]] = self.cluster.api.get(op.JOBS.format(self.namespace))["items"]
        return items

    def pods(self, query: str = "") -> list[dict[str, Any]]:
        """The Pods that are there, or those that a query such as ``labelSelector=...`` selects."""
        items: list[dict[str, Any]] = self.cluster.api.get(f"{PODS.format(self.namespace)}?{query}")["items"]
        return items

    def check_each_job_once(self, names: Sequence[str]) -> None:
        """Every object has its five Jobs, none of them created twice.

        In an outage a Job may be created although the answer is an error, so that there are Jobs without a creation.
        """
        again = {name: count for name, count in self.created_jobs().items() if count > 1}
        assert not again
        assert len(self.jobs()) == 5 * len(names)

    def check_all_complete(self, phases: dict[str, str], names: Sequence[str]) -> None:
        """No object is lost, none has failed, and each tells of every sample although no Pod has ever pushed."""
        assert phases == dict.fromkeys(names, "Complete"), self.explain()
        objects = op.objects(self.cluster, self.namespace).values()
        assert {each["status"]["progress"] for each in objects} == {PROGRESS}

    def delete_all(self, path: str) -> None:
        """Deletes a collection; of many objects a busy server needs longer than one request may take."""
        op.eventually(lambda: self.cluster.api.delete(path), seconds_for(OBJECTS), f"{path} is deleted")

    def check_nothing_is_left(self) -> None:
        """When the objects are deleted, all that was made for them goes too."""
        self.delete_all(op.OBJECTS.format(self.namespace))
        op.eventually(lambda: not self.jobs() and not self.pods(), seconds_for(OBJECTS), "Jobs and Pods are gone", 1.0)


@pytest.fixture
def bench(serving: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Bench]:
    """A bench without an operator."""
    made = Bench(serving, namespace, tmp_path)
    try:
        yield made
    finally:
        for each in made.operators:
            if each.running:
                print(f"{each.name}: at most {each.peak_megabytes():.0f} MB, {each.cpu_seconds():.1f} s of CPU")
                each.kill()


def seconds_for(count: int) -> float:
    """How long a test waits for so many objects."""
    return 60.0 + SECONDS_EACH * count
