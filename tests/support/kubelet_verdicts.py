"""What kubelets and the scheduler do to Pods besides running them: evict, preempt, drain, refuse at admission.

After Kubernetes 1.34. The simulated kubelet runs Pods; here a test takes a Pod out of its hands.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from operator_fixtures import PODS, Bench
from repeating import Repeating

from cluster.simulation import BEHAVIOUR_ANNOTATION

FAILURES = "batch.kubernetes.io/job-index-failure-count"
INDEX = "batch.kubernetes.io/job-completion-index"
ADMISSION = "KubeletAdmission"
"""Behaviours that wait for this are started, or refused, by :class:`Admission`."""
REFUSALS = {
    "UnexpectedAdmissionError": "Allocate failed due to requested number of devices unavailable for nvidia.com/gpu. "
    "Requested: 1, Available: 0, which is unexpected",
    "OutOfcpu": "Node didn't have enough resource: cpu, requested: 1000, used: 15500, capacity: 16000",
    "NodeAffinity": "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
}

Raw = dict[str, Any]


def path_of(pod: Raw) -> str:
    """Where the API server has it."""
    return f"{PODS.format(pod['metadata']['namespace'])}/{pod['metadata']['name']}"


def drain(bench: Bench, pod: Raw) -> None:
    """Through the eviction API: the Pod is disrupted, and gets SIGTERM."""
    metadata = {name: pod["metadata"][name] for name in ("name", "namespace")}
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    bench.cluster.api.create(f"{path_of(pod)}/eviction", body)


def evict(bench: Bench, pod: Raw) -> None:
    """Its kubelet ends it because the node is short of something."""
    unready = [{**each, "status": "False"} for each in _conditions(pod) if each["type"].endswith("Ready")]
    others = [each for each in _conditions(pod) if not each["type"].endswith("Ready")]
    conditions = [*unready, *others, _disrupted("TerminationByKubelet")]
    ended = {"terminated": {"exitCode": 137, "reason": "Error"}}
    containers = [{**each, "ready": False, "state": ended} for each in pod["status"]["containerStatuses"]]
    status = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: ephemeral-storage."}
    _patch_status(bench, pod, {**status, "conditions": conditions, "containerStatuses": containers})


def preempt(bench: Bench, pod: Raw) -> None:
    """The scheduler needs its place for a Pod of higher priority."""
    conditions = [*_conditions(pod), _disrupted("PreemptionByScheduler")]
    _patch_status(bench, pod, {"conditions": conditions})
    bench.cluster.api.delete(path_of(pod))


DISRUPTIONS: tuple[Callable[[Bench, Raw], None], ...] = (drain, evict, preempt)


class Admission(Repeating):
    """Kubelets' admission of Pods whose behaviour waits for ``ADMISSION``, in a thread.

    The first Pod of each index is refused with a probability, an index that `always` names always; a second one never.

    Attributes:
        refused: how many Pods, by object.
    """

    PASSING = frozenset({404})

    def __init__(self, bench: Bench, share: float, always: Callable[[Raw], bool]) -> None:
        super().__init__()
        self.refused: Counter[str] = Counter()
        self._bench = bench
        self._share = share
        self._always = always

    def turn(self) -> None:
        """Judges all that wait."""
        for pod in self._bench.pods("fieldSelector=status.phase=Pending"):
            if "nodeName" in pod["spec"] and self._behaviour(pod).get("waiting") == ADMISSION:
                self._judge(pod)

    def _judge(self, pod: Raw) -> None:
        is_first = pod["metadata"]["annotations"].get(FAILURES, "0") == "0"
        if is_first and (self._always(pod) or self._bench.random.random() < self._share):
            refuse(self._bench, pod, self._bench.random)
            self.refused[pod["metadata"]["labels"]["scenewright.io/object"]] += 1
        else:
            behaviour = {name: value for name, value in self._behaviour(pod).items() if name != "waiting"}
            annotations = {BEHAVIOUR_ANNOTATION: json.dumps(behaviour)}
            self._bench.cluster.api.merge(path_of(pod), {"metadata": {"annotations": annotations}})

    @staticmethod
    def _behaviour(pod: Raw) -> Raw:
        found: Raw = json.loads(pod["metadata"].get("annotations", {}).get(BEHAVIOUR_ANNOTATION, "{}"))
        return found


def refuse(bench: Bench, pod: Raw, chance: random.Random) -> None:
    """The Pod fails before any container of it was there: it has no exit code, and is not disrupted."""
    reason = chance.choice(sorted(REFUSALS))
    message = f"Pod was rejected: {REFUSALS[reason]}"
    _patch_status(bench, pod, {"phase": "Failed", "reason": reason, "message": message, "containerStatuses": None})


def _conditions(pod: Raw) -> list[Raw]:
    found: list[Raw] = pod["status"]["conditions"]
    return found


def _disrupted(reason: str) -> Raw:
    # The disruption controller takes back a condition that is old while its Pod is not deleted.
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "DisruptionTarget", "status": "True", "reason": reason, "lastTransitionTime": now}


def _patch_status(bench: Bench, pod: Raw, status: Raw) -> None:
    bench.cluster.api.merge(f"{path_of(pod)}/status", {"status": status})
