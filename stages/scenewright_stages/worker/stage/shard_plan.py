"""Decides from the records what a stage process does with each line of its worklist. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from scenewright_stages.contract.keys import input_fingerprint
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.records import Deaths, OutputFile, Record, deaths
from scenewright_stages.contract.samples import Sample
from scenewright_stages.worker.chain import Chain, Population
from scenewright_stages.worker.states import (
    UPSTREAM_MISSING,
    UPSTREAM_RUNS,
    Evidence,
    Relatives,
    SampleState,
    States,
    Upstream,
    answer_path,
    blocked,
    current_upstream,
    judge,
)
from scenewright_stages.worker.worklists import WorkItem

CRASHED = "Crashed"
DEATHS_AT_ONE_STATE = 3
"""So often a stage that keeps state may die without saving another one."""


@dataclass
class ShardPlan:
    """The plan for a worklist.

    Attributes:
        items: samples to run, starting with those that ran when an earlier process died.
        records: final records of samples that need no run (skipped or crashed), each with the time it must be after.
        ended: records of samples that ended in an earlier attempt of this run, or turn out to be up to date.
    """

    items: list[WorkItem] = field(default_factory=list)
    records: list[tuple[Record, float]] = field(default_factory=list)
    ended: list[Record] = field(default_factory=list)


@dataclass(frozen=True)
class ShardPlanner:
    """Sorts the lines of a worklist.

    Attributes:
        chain: the pipeline.
        stage: whose worklist.
        population: the families of the worklist's samples.
        run: the run's id; deaths in other runs do not count.
        retries: ``retries.perSample``. A sample is given up once more attempts than this died while running it, at
            least one of them while it ran alone.
    """

    chain: Chain
    stage: StageSpec
    population: Population
    run: str
    retries: int

    def plan(self, items: Sequence[WorkItem], evidence: Evidence) -> ShardPlan:
        """Plans the lines.

        Args:
            items: lines of the worklist.
            evidence: records of the stage and of all that it depends on.
        """
        plan = ShardPlan()
        states = self._states(items, evidence)
        relatives = Relatives(self.chain, self.population)
        for item in items:
            upstream = relatives.upstream(self.stage, item.sample, states)
            history = evidence.history(self.stage.name, item.sample.id)
            # Count all deaths in this run, because a folded process rebuilds the worklist whenever it starts.
            died = deaths(history, self.run).get(item.sample.id, Deaths())
            self._sort(plan, item, states[self.stage.name][item.sample.id], upstream, evidence, died)
        plan.items.sort(key=lambda item: not item.suspected)
        return plan

    def _states(self, items: Sequence[WorkItem], evidence: Evidence) -> States:
        own = dict(evidence.histories.get(self.stage.name, {}))
        for item in items:
            own[item.sample.id] = counting_records(item, own.get(item.sample.id, ()))
        counting = replace(evidence, histories={**evidence.histories, self.stage.name: own}, sizes=None)
        return judge(self.chain, self.population, counting, stages=self.chain.closure(self.stage.name))

    def _sort(
        self,
        plan: ShardPlan,
        item: WorkItem,
        state: SampleState,
        upstream: Sequence[Upstream],
        evidence: Evidence,
        died: Deaths,
    ) -> None:
        item = self._with_inputs(item, upstream, evidence)
        base: dict[str, Any] = {
            "sample": item.sample.id,
            "stage": self.stage.name,
            "key": self.chain.keys[self.stage.name],
            "fingerprint": item.fingerprint,
            "upstream": dict(item.hashes),
        }
        skip = blocked(upstream) or _upstream_missing(upstream) or (state if state.state == "awaiting" else None)
        if skip is not None:
            record = Record(state="skipped", reason=skip.reason, message=skip.message, **base)
            plan.records.append((record, item.after))
        elif state.record is not None:
            plan.ended.append(state.record)
        elif died.total >= self._allowed_deaths() and died.alone:
            message = f"the process died {died.total} times while it worked on this sample"
            plan.records.append((Record(state="failed", reason=CRASHED, message=message, **base), item.after))
        else:
            plan.items.append(replace(item, suspected=died.total > 0))

    def _allowed_deaths(self) -> int:
        return max(self.retries + 1, DEATHS_AT_ONE_STATE) if self.stage.keeps_state else self.retries + 1

    def _with_inputs(self, item: WorkItem, upstream: Sequence[Upstream], evidence: Evidence) -> WorkItem:
        """The item with everything that it reads."""
        answer = answer_path(self.stage, item.sample)
        found = evidence.answers.get(answer, "") if answer else ""
        return replace(
            item,
            fingerprint=input_fingerprint(self.stage, item.sample, evidence.inputs, found),
            hashes=current_upstream(self.stage, upstream),
            upstream=_own_outputs(upstream),
            families={each.read.stage: each.outputs() for each in upstream if each.read.of != "own"},
            answer=answer,
        )


def _own_outputs(upstream: Sequence[Upstream]) -> dict[str, dict[str, OutputFile]]:
    """The outputs of the sample and its ancestors that it reads, by stage; several parts of a stage are merged."""
    own: dict[str, dict[str, OutputFile]] = {}
    for each in upstream:
        if each.read.of == "own":
            for _, files in each.outputs():
                own.setdefault(each.read.stage, {}).update(files)
    return own


def counting_records(item: WorkItem, history: Sequence[Record]) -> list[Record]:
    """The records that can mark a line of a worklist as ended.

    For a sample listed for its own sake, only records newer than the list count. A sample listed because something
    upstream runs again may still be up to date, if its inputs came out the same.
    """
    if item.reason == UPSTREAM_RUNS:
        return [record for record in history if record.at > item.after or record.state != "failed"]
    return [record for record in history if record.at > item.after]


def families_of(items: Sequence[WorkItem]) -> list[Sample]:
    """The indexed samples of the lines, each once."""
    return list({item.sample.root.id: item.sample.root for item in items}.values())


def _upstream_missing(upstream: Sequence[Upstream]) -> SampleState | None:
    missing = [each.read.stage for each in upstream if each.is_short()]
    if not missing:
        return None
    return SampleState("skipped", None, UPSTREAM_MISSING, f"{' and '.join(missing)} has no record of this sample")
