"""Kueue in a few lines: one queue with a quota of GPUs, first come first served by priority, and preemption."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from simulated_cluster import PODS, Cluster

from scenewright.execution.jobs.workload import HoldQuota, workload_manifest
from scenewright.planning.plan import Plan
from scenewright.reconcile.cache.observation import Answer, Observed, ObservedObject, ObservedWorkload
from scenewright.reconcile.cache.projection import observed_workload
from scenewright.reconcile.decide.actions import Action, Inspect, ReleaseQuota
from scenewright.reconcile.decide.admission import needs_quota

STAGES = ("outpaint", "depth", "initialize", "coarse", "render")


@dataclass
class Kueue:
    """The Workloads of a ClusterQueue; `quota` counts GPUs, `labels` are those of its only flavor."""

    quota: int
    labels: dict[str, str] = field(default_factory=lambda: {"gpu": "h200"})
    workloads: dict[str, tuple[ObservedWorkload, int, int]] = field(default_factory=dict)
    serial: int = 0
    history: list[tuple[str, str]] = field(default_factory=list)

    def create(self, plan: Any, owner: Any, hold: HoldQuota, pods: Any, now: datetime, priority: int = 0) -> None:
        """Takes a Workload; a second one of the same name is an error."""
        manifest = workload_manifest(plan, owner, hold, pods, priority=priority)
        self.serial += 1
        manifest["metadata"] |= {"uid": f"workload-{self.serial}", "creationTimestamp": now.isoformat()}
        seen = observed_workload(manifest)
        assert seen is not None and seen.name not in self.workloads
        (podset,) = manifest["spec"]["podSets"]
        (container,) = podset["template"]["spec"]["containers"]
        gpus = podset["count"] * int(container["resources"]["requests"]["nvidia.com/gpu"])
        self.workloads[seen.name] = seen, gpus, priority

    def delete(self, name: str) -> None:
        """Gives the quota back."""
        seen, _, _ = self.workloads.pop(name)
        self.history.append(("released", seen.owner_uid))

    def of(self, uid: str) -> ObservedWorkload | None:
        return next((seen for seen, _, _ in self.workloads.values() if seen.owner_uid == uid), None)

    def evict(self, uid: str, why: str) -> None:
        """Wants the quota of an object back."""
        for name, (seen, gpus, priority) in self.workloads.items():
            if seen.owner_uid == uid and seen.admitted:
                self.workloads[name] = replace(seen, admitted=False, evicted=True, message=why), gpus, priority
                self.history.append(("evicted", uid))

    @property
    def used(self) -> int:
        """GPUs of Workloads that are admitted, or evicted and not yet given back."""
        return sum(gpus for seen, gpus, _ in self.workloads.values() if seen.admitted or seen.evicted)

    def tick(self) -> None:
        """Admits what fits, by priority and age; preempts what is less urgent."""
        waiting = [each for each in self.workloads.items() if not (each[1][0].admitted or each[1][0].evicted)]
        for name, (seen, gpus, priority) in sorted(waiting, key=lambda each: (-each[1][2], each[1][0].uid)):
            if self.used + gpus <= self.quota:
                self.workloads[name] = replace(seen, admitted=True, flavors=("h200",)), gpus, priority
                self.history.append(("admitted", seen.owner_uid))
                continue
            self.workloads[name] = replace(seen, message="insufficient quota for nvidia.com/gpu"), gpus, priority
            for other, _, rank in list(self.workloads.values()):
                if other.admitted and rank < priority:
                    self.evict(other.owner_uid, "Preempted to accommodate a higher priority Workload")


@dataclass
class QueuedCluster(Cluster):
    """One object of several that share a ClusterQueue."""

    name: str = "courtyard"
    kueue: Kueue = field(default_factory=lambda: Kueue(1))
    priority: int = 0

    @property
    def object(self) -> ObservedObject:
        return replace(super().object, uid=f"uid-{self.name}", name=self.name)

    def observed(self) -> Observed:
        return replace(super().observed(), workload=self.kueue.of(self.object.uid))

    def carry_out(self, action: Action) -> None:
        if isinstance(action, HoldQuota):
            self.kueue.create(self.work(), self.object, action, PODS, self.now, self.priority)
        elif isinstance(action, ReleaseQuota):
            self.kueue.delete(action.name)
        elif isinstance(action, Inspect) and action.inspection.what == "flavor":
            tolerations = [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}]
            found = json.dumps({"nodeLabels": self.kueue.labels, "tolerations": tolerations})
            self.answers[action.inspection] = Answer(True, found, self.now)
        else:
            super().carry_out(action)

    def running(self) -> list[str]:
        """Steps whose Pods hold GPUs now."""
        plan = self.work()
        assert isinstance(plan, Plan)
        return [pod.step for pod in self.pods.values() if needs_quota(plan, pod.step) and pod.exit_code is None]
