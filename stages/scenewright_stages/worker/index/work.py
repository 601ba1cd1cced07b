"""Decides which samples run in which stage, and why. Pure functions; the states come from `worker.states.judge`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.reports import StageCounts
from scenewright_stages.contract.samples import WHOLE_LEVEL, Sample
from scenewright_stages.worker.chain import Chain, Population
from scenewright_stages.worker.states import UPSTREAM_MISSING, Evidence, judge, latest_time
from scenewright_stages.worker.worklists import WorkItem, shard_count


@dataclass
class StageWork:
    """One stage's work in a run: its worklist, its samples by state, and the number of shards."""

    stage: str
    todo: list[WorkItem] = field(default_factory=list)
    counts: StageCounts = field(default_factory=StageCounts)
    unreachable: int = 0

    def reasons(self) -> dict[str, int]:
        """How often each reason occurs, most frequent first."""
        counted: dict[str, int] = {}
        for item in self.todo:
            counted[item.reason] = counted.get(item.reason, 0) + 1
        return dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))


def plan_work(
    chain: Chain,
    population: Population,
    evidence: Evidence,
    *,
    retry_failed: bool = False,
    forced_by: str = "",
    samples_per_shard: int | None = None,
) -> dict[str, StageWork]:
    """The worklist of every stage: samples that are not up to date, and every sample that depends on them.

    A sample that depends on outdated results of an unselected stage is skipped (``UpstreamMissing``).
    """
    states = judge(chain, population, evidence, selected=chain.selected, retry_failed=retry_failed, forced_by=forced_by)
    work: dict[str, StageWork] = {}
    for stage in chain.stages:
        work[stage.name] = StageWork(stage.name)
        tally = dict.fromkeys(("total", "todo", "done", "failed", "skipped", "awaiting", "unselected"), 0)
        rejected = 0
        for sample in population[chain.levels[stage.name]]:
            state = states[stage.name][sample.id]
            tally["total"] += 1
            tally[state.state] += 1
            rejected += state.rejected and state.record is not None
            if state.state == "todo":
                after = latest_time(evidence.history(stage.name, sample.id))
                work[stage.name].todo.append(WorkItem(sample, state.reason, after))
            elif state.reason == UPSTREAM_MISSING and stage.name in chain.selected:
                work[stage.name].unreachable += 1
        shards = shard_count(tally["todo"], stage, samples_per_shard)
        not_selected = tally.pop("unselected")
        work[stage.name].counts = StageCounts(**tally, rejected=rejected, not_selected=not_selected, shards=shards)
    return work


def check_family(chain: Chain, sample: Sample) -> None:
    """Checks the ids and output paths of all samples expanded from an indexed one.

    Raises:
        ConfigurationError: an id or a path attribute is invalid, or the entry sets a forbidden parameter.
    """
    levels = chain.family(sample).levels
    for stage in chain.stages:
        named = [output for output in stage.outputs if output.attributes()]
        if named and chain.levels[stage.name] != WHOLE_LEVEL:
            for each in levels[chain.levels[stage.name]]:
                for output in named:
                    output.path_for(each)


def refuse_shared_paths(chain: Chain, population: Population) -> None:
    """Refuses two samples of a stage with the same id or the same output path.

    Raises:
        ConfigurationError: names both samples.
    """
    for samples in population.values():
        roots: dict[str, str] = {}
        for sample in samples:
            other = roots.setdefault(sample.id, sample.root.id)
            if other != sample.root.id:
                raise ConfigurationError(
                    "spec.input", sample.id, f"{other} and {sample.root.id} would both become this sample; rename one"
                )
    for stage in chain.stages:
        taken: dict[str, str] = {}
        for sample in population[chain.levels[stage.name]]:
            for path in shared_paths(stage, sample):
                other = taken.setdefault(path, sample.id)
                if other != sample.id:
                    raise ConfigurationError(
                        "spec.input", path, f"{stage.name} would write this path for {other} and for {sample.id}"
                    )


def shared_paths(stage: StageSpec, sample: Sample) -> Sequence[str]:
    """The output paths of a sample that its id alone does not make unique."""
    return [output.path_for(sample) for output in stage.outputs if "{sample}" not in output.path]
