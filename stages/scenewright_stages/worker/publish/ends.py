"""How the units of a publication ended, and why. Pure functions; publish calls :func:`results_of` once.

The units are the samples at one level: that of the last stages that this run selected or that an earlier run made,
but never deeper than the level of the whole chain's results. So a run of the first stages counts photographs, and a
run of all stages counts the pairs made of them. A unit is done if all selected stages that concern it are: its own,
those of its ancestors, and those of the samples below it unless a later stage did without them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.records import Record
from scenewright_stages.contract.reports import StageCounts, UnitCounts
from scenewright_stages.contract.results import Cause, End, Results, StageResults, merged_warnings, stage_time
from scenewright_stages.contract.samples import WHOLE_LEVEL, Sample
from scenewright_stages.contract.task import INDEX_STEP
from scenewright_stages.worker.chain import WHOLE, Chain, Population
from scenewright_stages.worker.states import PROVIDED, UPSTREAM_RUNS, SampleState, States, ancestor

Below = Sequence[tuple[str, Sample, SampleState]]
MISSING = "Missing"
NO_RECORD = "it has no record of this run"
_ORDER: tuple[End, ...] = ("failed", "missing", "waiting", "rejected")
"""Order of the causes: what a user has to act on comes first."""


@dataclass(frozen=True)
class SampleEnd:
    """How a unit of the publication ended over all selected stages.

    Attributes:
        sample: the unit, as the final stages see it; an input that the index refused is one too.
        state: how it ended.
        states: by stage, of itself and its ancestors; empty if the index refused it.
        below: stage, sample and state of the samples that were expanded from it and gathered again.
        stage, reason, message: where and why it is not done.
        cause: stage and sample of the cause, which may be above or below it.
    """

    sample: Sample
    state: End
    states: Mapping[str, SampleState]
    below: Below = ()
    stage: str = ""
    reason: str = ""
    message: str = ""
    cause: tuple[str, str] = ("", "")

    @property
    def refused(self) -> bool:
        """Whether it is an input that the index could not take."""
        return self.sample.rejected is not None

    @property
    def follows(self) -> bool:
        """Whether the cause is another sample, which is told of itself."""
        return self.state != "done" and self.cause != (self.stage, self.sample.id)

    def records(self) -> dict[str, Record]:
        """Current records by stage."""
        return {name: state.record for name, state in self.states.items() if state.record is not None}

    def done_records(self) -> dict[str, Record]:
        """Current records of the stages that are done."""
        return {name: record for name, record in self.records().items() if self.states[name].state == "done"}

    def all_records(self) -> list[Record]:
        """Current records of itself and of all below it."""
        return [*self.records().values(), *(state.record for _, _, state in self.below if state.record is not None)]


def unit_level(chain: Chain, states: States) -> int:
    """Level of the units: of the last stages that are selected or have results, at most that of the chain's results."""
    active = [stage for stage in chain.stages if stage.name in chain.selected or _has_results(states[stage.name])]
    return min(chain.unit_level(), chain.unit_level(active or chain.stages))


def _has_results(states: Mapping[str, SampleState]) -> bool:
    return any(
        state.state == "done" and state.record is not None and state.record.run != PROVIDED for state in states.values()
    )


def sample_ends(chain: Chain, samples: Sequence[Sample], population: Population, states: States) -> list[SampleEnd]:
    """The ends of all units in the order of the indexed samples, refused inputs among them."""
    level = unit_level(chain, states)
    units: dict[str, list[Sample]] = {}
    for unit in population.get(level, ()):
        units.setdefault(unit.root.id, []).append(unit)
    below = _below(chain, population, states, level)
    ends: list[SampleEnd] = []
    for sample in samples:
        if sample.rejected is not None:
            cause = (INDEX_STEP, sample.id)
            ends.append(SampleEnd(sample, "failed", {}, (), INDEX_STEP, *sample.rejected, cause))
        else:
            ends += [_end(chain, unit, states, below.get(unit.id, ()), level) for unit in units.get(sample.id, ())]
    whole = [stage for stage in chain.stages if chain.levels[stage.name] == WHOLE_LEVEL]
    if any(stage.name in chain.selected or states[stage.name][WHOLE.id].state == "done" for stage in whole):
        ends.append(_end(chain, WHOLE, states, (), WHOLE_LEVEL))
    return ends


def _below(
    chain: Chain, population: Population, states: States, level: int
) -> dict[str, list[tuple[str, Sample, SampleState]]]:
    """The samples below each unit, by the unit's id."""
    found: dict[str, list[tuple[str, Sample, SampleState]]] = {}
    for stage in chain.stages:
        if chain.levels[stage.name] > level:
            for sample in population[chain.levels[stage.name]]:
                entry = (stage.name, sample, states[stage.name][sample.id])
                found.setdefault(ancestor(sample, level).id, []).append(entry)
    return found


def _end(chain: Chain, unit: Sample, states: States, below: Below, level: int) -> SampleEnd:
    own = {
        stage.name: (ancestor(unit, chain.levels[stage.name]), states[stage.name])
        for stage in chain.stages
        if _is_between(chain.levels[stage.name], level)
    }
    found = {name: of_stage[sample.id] for name, (sample, of_stage) in own.items()}
    members = {name: [(found[name], own[name][0])] for name in own}
    for name, sample, state in below:
        members.setdefault(name, []).append((state, sample))
    stop = _stop(chain, members, set(own))
    if stop is not None:
        stage, sample, state = stop
        end = _end_of(state)
        reason, message = (MISSING, NO_RECORD) if end == "missing" else (state.reason, state.message)
        return SampleEnd(unit, end, found, below, stage, reason, message, _cause(chain, members) or (stage, sample.id))
    concerned = level == WHOLE_LEVEL or any(chain.levels[stage.name] >= level for stage in chain.selected_stages())
    at_level = [(name, state) for name, state in found.items() if chain.levels[name] == level]
    if concerned or any(state.state == "done" for _, state in at_level):
        return SampleEnd(unit, "done", found, below)
    stage, last = next(((name, state) for name, state in at_level if state.rejected), at_level[0])
    if last.rejected:
        cause = _cause(chain, members, rejected=True) or (stage, unit.id)
        return SampleEnd(unit, "rejected", found, below, stage, last.reason, last.message, cause)
    return SampleEnd(unit, "not selected", found, below, stage, last.reason, last.message, (stage, unit.id))


def _is_between(stage_level: int, level: int) -> bool:
    """Whether a unit of that level has a state in the stage, either its own or an ancestor's."""
    return stage_level == level if level == WHOLE_LEVEL else WHOLE_LEVEL < stage_level <= level


Members = Mapping[str, Sequence[tuple[SampleState, Sample]]]
"""States and samples that concern a unit, by stage."""


def _stop(chain: Chain, members: Members, own: set[str]) -> tuple[str, Sample, SampleState] | None:
    """The first selected stage in which the unit is not done; None if it is done in all of them."""
    below: tuple[str, Sample, SampleState] | None = None
    for stage in chain.selected_stages():
        lacking = [(state, sample) for state, sample in members.get(stage.name, ()) if state.state != "done"]
        if stage.name in own:
            if lacking:
                return stage.name, lacking[0][1], lacking[0][0]
            # It is done without them.
            below = None
        elif lacking:
            if any(state.state == "todo" for state, _ in lacking):
                state, sample = next(each for each in lacking if each[0].state == "todo")
                return stage.name, sample, state
            below = below or (stage.name, lacking[0][1], lacking[0][0])
    return below


def _end_of(state: SampleState) -> End:
    """The word for a unit that stops at a state."""
    if state.state == "todo":
        return "missing"
    if state.state == "awaiting":
        return "waiting"
    return "rejected" if state.rejected else "failed"


def _cause(chain: Chain, members: Members, *, rejected: bool = False) -> tuple[str, str] | None:
    """Stage and sample of the first state that does not follow from another one."""
    for stage in chain.stages:
        for state, sample in members.get(stage.name, ()):
            if _is_cause(state) and (state.rejected or not rejected):
                return stage.name, sample.id
    return None


def _is_cause(state: SampleState) -> bool:
    if state.state == "todo":
        return state.reason != UPSTREAM_RUNS
    return state.state in ("failed", "skipped", "awaiting") and not state.follows


def results_of(
    chain: Chain, population: Population, states: States, ends: Sequence[SampleEnd], warnings: Iterable[str] = ()
) -> Results:
    """The account of a publication; `warnings` are those of other steps: of the index, and about pages."""
    stages = [
        StageResults(
            stage.name,
            stage.title or stage.name,
            stage.name in chain.selected,
            stage_counts(stage, states, stage.name in chain.selected),
        )
        for stage in chain.stages
    ]
    refused = sum(end.refused for end in ends)
    whole = [end for end in ends if end.sample is WHOLE]
    # Inputs are units only where the units are inputs; the sample that stands for the job is one only if alone.
    counted = [end for end in ends if end.sample is not WHOLE or len(ends) == len(whole)]
    if any(end.sample.parent is not None for end in counted):
        counted = [end for end in counted if not end.refused]
    numbers = Counter(end.state for end in counted)
    units = UnitCounts(total=len(counted), **{end.replace(" ", "_"): number for end, number in sorted(numbers.items())})
    return Results(
        units,
        refused,
        sum(end.refused for end in counted),
        stages,
        _causes(chain, population, states, ends),
        merged_warnings(warnings, warnings_of(stages, ends, _rejections(chain, states))),
        {end.sample.id: end.state for end in ends},
    )


def stage_counts(stage: StageSpec, states: States, selected: bool = True) -> StageCounts:
    """Counts of one stage over all of its samples, with the times of its current records."""
    own = states[stage.name].values()
    counts = Counter(state.state for state in own)
    records = [state.record for state in own if state.record is not None and state.record.run != PROVIDED]
    time = stage_time(records)
    # What failed in a stage that may not run is no failure of this run.
    lost = 0 if selected else counts["failed"]
    return StageCounts(
        total=counts.total(),
        done=counts["done"],
        failed=counts["failed"] - lost,
        skipped=counts["skipped"],
        rejected=sum(state.rejected and state.record is not None for state in own),
        awaiting=counts["awaiting"],
        not_selected=counts["unselected"] + lost,
        missing=counts["todo"],
        wall_seconds=time.wall_seconds,
        seconds=time.seconds,
        gpu_seconds=time.gpu_seconds,
        gpu_wait_seconds=round(sum(record.gpu_wait_seconds for record in records), 3),
    )


def _causes(chain: Chain, population: Population, states: States, ends: Sequence[SampleEnd]) -> list[Cause]:
    """Every cause once: failures first, then in the order of the chain and of the samples."""
    units = Counter(end.cause for end in ends if end.state != "done")
    found = [
        Cause(end.sample.id, INDEX_STEP, "failed", end.reason, end.message, 1 if end.sample.parent is None else 0)
        for end in ends
        if end.refused
    ]
    for stage in chain.stages:
        selected = stage.name in chain.selected
        for sample in population[chain.levels[stage.name]]:
            state, number = states[stage.name][sample.id], units[stage.name, sample.id]
            # A stage outside the selection is a cause only for what was selected.
            if _is_cause(state) and (selected or state.rejected or number):
                found.append(_told(stage.name, sample, state, number))
    return sorted(found, key=lambda cause: _ORDER.index(cause.end))


def _told(stage: str, sample: Sample, state: SampleState, units: int) -> Cause:
    end = _end_of(state)
    reason, message = (MISSING, NO_RECORD) if end == "missing" else (state.reason, state.message)
    return Cause(sample.id, stage, end, reason, message, units)


def _rejections(chain: Chain, states: States) -> Iterator[tuple[str, str, int, int]]:
    """Stage, reason, number of samples that a rule left out there, and number of samples that reached the stage."""
    for stage in chain.stages:
        own = states[stage.name].values()
        reached = sum(state.record is not None for state in own)
        counted = Counter(state.reason for state in own if state.rejected and state.record is not None)
        for reason, number in sorted(counted.items()):
            yield stage.name, reason, number, reached


def left_out(chain: Chain, states: States) -> dict[str, int]:
    """How many samples the pipeline's rules left out, by reason, each counted where the rule applied."""
    found: Counter[str] = Counter()
    for _, reason, number, _ in _rejections(chain, states):
        found[reason] += number
    return dict(sorted(found.items()))


def warnings_of(
    stages: Sequence[StageResults], ends: Sequence[SampleEnd], rejections: Iterable[tuple[str, str, int, int]]
) -> list[str]:
    """What rules left out, then what stages did without, then all warnings of current records with their sample."""
    rejected = [
        f"{number} of {total} samples rejected in {stage}: {reason}" for stage, reason, number, total in rejections
    ]
    found = (
        f"{record.sample}: {warning}"
        for end in ends
        for record in end.all_records()
        if record.state == "done"
        for warning in record.warnings
    )
    return [*rejected, *dict.fromkeys(found)]
