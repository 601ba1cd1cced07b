"""Mode manual by the worker's own rules: nothing runs while it waits, and an answer continues its own world alone."""

from __future__ import annotations

from typing import Any

from toy_chains import by_sample, chain_of, photo

from scenewright_stages.contract.keys import input_fingerprint
from scenewright_stages.contract.records import OutputFile, Record
from scenewright_stages.contract.samples import Sample
from scenewright_stages.worker.chain import Chain
from scenewright_stages.worker.index.work import plan_work
from scenewright_stages.worker.stage.shard_plan import ShardPlanner
from scenewright_stages.worker.states import AWAITING, NO_RECORD, Evidence, judge
from scenewright_stages.worker.worklists import WorkItem
from scenewright_stages.worldexplorer.pipeline import PIPELINE

WORLDS = [photo(f"default/index_000{number}") for number in range(3)]
MANUAL: dict[str, Any] = {"scaffold": {"method": "scaffoldGen", "mode": "manual", "theme": "farm"}}


def drawn(chain: Chain, sample: Sample) -> Record:
    """The candidates of a world are made."""
    stage = chain.stage("candidates")
    parts = {f"{number:03d}.png": (1, f"{sample.id}-{number}") for number in range(4)}
    outputs = {
        output.name: OutputFile.of_parts(output.path_for(sample), parts)
        if output.form == "numbered"
        else OutputFile(output.path_for(sample), 1, "h")
        for output in stage.outputs
    }
    key, fingerprint = chain.keys["candidates"], input_fingerprint(stage, sample, {})
    return Record(sample.id, "candidates", key, "done", at=1.0, fingerprint=fingerprint, outputs=outputs)


def evidence(chain: Chain, answered: list[Sample]) -> Evidence:
    records = [drawn(chain, sample) for sample in WORLDS]
    return Evidence(by_sample(records), answers={f"{each.id}/scaffold/choice.json": "hash" for each in answered})


def work(chain: Chain, found: Evidence) -> dict[str, Any]:
    """Counts of every stage by name: what a run would start processes for."""
    planned = plan_work(chain, chain.population(WORLDS), found)
    return {name: each.counts for name, each in planned.items()}


def test_no_process_runs_while_all_worlds_wait() -> None:
    chain = chain_of(PIPELINE, MANUAL)
    states = judge(chain, chain.population(WORLDS), evidence(chain, []))
    assert {each.state for each in states["candidates"].values()} == {"done"}
    assert {(each.state, each.reason) for each in states["scaffold"].values()} == {("awaiting", AWAITING)}
    assert "contact sheet" in states["scaffold"][WORLDS[0].id].message
    counts = work(chain, evidence(chain, []))
    assert all(each.todo == 0 and each.shards == 0 for each in counts.values())
    assert counts["scaffold"].awaiting == 3


def test_answers_for_two_of_three_continue_two() -> None:
    chain = chain_of(PIPELINE, MANUAL)
    found = evidence(chain, WORLDS[:2])
    counts = work(chain, found)
    assert (counts["candidates"].done, counts["scaffold"].todo, counts["scaffold"].awaiting) == (3, 2, 1)
    assert (counts["export"].todo, counts["export"].awaiting) == (2, 1)
    planner = ShardPlanner(chain, chain.stage("scaffold"), chain.population(WORLDS), "r", 1)
    plan = planner.plan([WorkItem(sample, NO_RECORD) for sample in WORLDS], found)
    assert [item.sample.id for item in plan.items] == [sample.id for sample in WORLDS[:2]]
    assert plan.items[0].answer == "default/index_0000/scaffold/choice.json"


def test_a_world_whose_entry_wants_no_choice_does_not_wait() -> None:
    chain = chain_of(PIPELINE, MANUAL)
    fast = photo("default/index_0009", overrides={"scaffold": {"mode": "fast"}})
    found = Evidence(by_sample([drawn(chain, fast)]))
    assert judge(chain, chain.population([fast]), found)["scaffold"][fast.id].state == "todo"
    planner = ShardPlanner(chain, chain.stage("scaffold"), chain.population([fast]), "r", 1)
    (item,) = planner.plan([WorkItem(fast, NO_RECORD)], found).items
    assert item.answer == ""
