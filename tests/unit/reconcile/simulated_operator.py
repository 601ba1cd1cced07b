"""The operator around the planner in a few lines: it acts, writes the status, and may die anywhere in between."""

from __future__ import annotations

from dataclasses import dataclass, field

from simulated_cluster import PODS, Cluster

from scenewright.api.status import Status
from scenewright.execution.jobs import CreateJob
from scenewright.reconcile.decide import DecideSettings, decide
from scenewright.reconcile.decide.actions import Decision, EmitEvent

SETTLED = 12


@dataclass
class Operator:
    """Decides until nothing is left to do, and keeps a record of what it did; tells progress from the start.

    Attributes:
        decides_twice: checks each time that the same observation gives the same decision.
    """

    cluster: Cluster
    settings: DecideSettings = field(default_factory=lambda: DecideSettings(progress_after=0.0, pods=PODS))
    statuses: list[Status] = field(default_factory=list)
    urgent_writes: int = 0
    held_writes: int = 0
    created: list[CreateJob] = field(default_factory=list)
    events: list[EmitEvent] = field(default_factory=list)
    last: Decision = field(default_factory=Decision)
    decides_twice: bool = False

    @property
    def status(self) -> Status:
        """The status that is stored."""
        return Status.model_validate(self.cluster.status)

    def settle(self, stop_after: int | None = None) -> Decision:
        """Decides and acts until the cluster has to move on.

        Args:
            stop_after: the operator dies after so many actions of its first decision, before it writes the status.
        """
        for _ in range(SETTLED):
            decision = decide(self.cluster.observed(), self.settings, self.cluster.now)
            if self.decides_twice:
                again = decide(self.cluster.observed(), self.settings, self.cluster.now)
                assert decision == again, "not deterministic"
            for action in decision.actions[:stop_after]:
                self._carry_out(action)
            if stop_after is not None:
                return decision
            wrote = self._write(decision)
            self.last = decision
            if not decision.actions and not wrote:
                return decision
        raise AssertionError(f"does not settle: {decision.actions}")

    def settle_once(self) -> Decision:
        """One decision, acted upon and written."""
        decision = decide(self.cluster.observed(), self.settings, self.cluster.now)
        for action in decision.actions:
            self._carry_out(action)
        self._write(decision)
        return decision

    def run(self, ticks: int = 400) -> Status:
        """Lets time pass until the work has ended or is waiting for good."""
        for _ in range(ticks):
            self.settle()
            if self.status.phase in ("Complete", "Failed") or self.cluster.deleted:
                break
            self.cluster.tick()
        return self.status

    def _carry_out(self, action: object) -> None:
        if isinstance(action, EmitEvent):
            self.events.append(action)
            return
        if isinstance(action, CreateJob):
            self.created.append(action)
        self.cluster.carry_out(action)  # type: ignore[arg-type]

    def _write(self, decision: Decision) -> bool:
        if decision.status is None:
            return False
        document = decision.status.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        if document == self.cluster.status:
            return False
        self.cluster.status = document
        self.statuses.append(decision.status)
        self.urgent_writes += decision.urgent
        self.held_writes += not decision.urgent
        return True
