"""The object storage of the simulated cluster: records of samples, and the reports that workers make from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from scenewright.planning.plan import Plan
from scenewright_stages.contract.reports import Failure, Report, StageCounts

State = Literal["done", "failed", "skipped", "todo"]


@dataclass
class Storage:
    """Records by key and sample, and the worklists of runs."""

    samples: int
    records: dict[tuple[str, int], State] = field(default_factory=dict)
    worklists: dict[tuple[str, str], list[int]] = field(default_factory=dict)

    def standings(self, plan: Plan, retry_failed: bool = False) -> dict[str, list[State]]:
        """State of every sample in every stage of the chain, which is a line."""
        found: dict[str, list[State]] = {}
        above: list[State] = ["done"] * self.samples
        for stage in plan.chain:
            above = [self._standing(plan.keys[stage.name], n, above[n], retry_failed) for n in range(self.samples)]
            found[stage.name] = above
        return found

    def index(self, plan: Plan, run: str, retry_failed: bool, plan_only: bool) -> Report:
        """Counts, and writes the worklists."""
        stages = {}
        for name, states in self.standings(plan, retry_failed).items():
            todo = [number for number, state in enumerate(states) if state == "todo"]
            if not plan_only:
                self.worklists[run, name] = todo
            stages[name] = counts(states, shards=-(-len(todo) // (plan.spec.execution.samples_per_shard or 4)))
        return Report(step="index", run=run, samples=self.samples, stages=stages)

    def record(self, plan: Plan, stage: str, sample: int, state: State) -> None:
        """One sample's end; a done record outlives a failed one."""
        if self.records.get((plan.keys[stage], sample)) != "done":
            self.records[plan.keys[stage], sample] = state

    def shard_report(self, plan: Plan, run: str, stage: str, lines: Sequence[int]) -> Report:
        """What a stage's process tells at its end."""
        states = [self.standings(plan)[stage][sample] for sample in lines]
        return Report(step=stage, run=run, samples=len(lines), stages={stage: counts(states)})

    def publish(self, plan: Plan, run: str) -> Report:
        """The final counts."""
        standings = self.standings(plan)
        failures = [
            Failure(sample=f"photo-{sample}", stage=name, reason="ImageTruncated", message="cut short")
            for name, states in standings.items()
            for sample, state in enumerate(states)
            if state == "failed"
        ]
        return Report(
            step="publish",
            run=run,
            samples=self.samples,
            stages={name: counts(states) for name, states in standings.items()},
            failures=failures[:20],
            outputs={"results": plan.spec.output.uri},
        )

    def _standing(self, key: str, sample: int, above: State, retry_failed: bool) -> State:
        if above in ("failed", "skipped"):
            return "skipped"
        if above == "todo":
            return "todo"
        state = self.records.get((key, sample), "todo")
        return "todo" if state == "failed" and retry_failed else state


def counts(states: Sequence[State], shards: int = 0) -> StageCounts:
    """The counts of a report."""
    todo = states.count("todo")
    return StageCounts(
        total=len(states),
        todo=todo if shards else 0,
        missing=0 if shards else todo,
        done=states.count("done"),
        failed=states.count("failed"),
        skipped=states.count("skipped"),
        shards=shards,
    )
