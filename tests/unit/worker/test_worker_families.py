"""Stages that expand samples and gather them again: what runs, what waits and what is skipped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import pytest
from toy_chains import by_sample, chain_of, photo, pipeline_of

from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.outputs import OutputContract
from scenewright_stages.contract.pipeline import INPUT, Ask, Read, StageSpec, stage_levels
from scenewright_stages.contract.records import OutputFile, Record
from scenewright_stages.contract.samples import WHOLE_ID, Child, Sample
from scenewright_stages.worker.chain import Chain
from scenewright_stages.worker.index.work import refuse_shared_paths
from scenewright_stages.worker.publish.ends import left_out, results_of, sample_ends, stage_counts
from scenewright_stages.worker.stage.shard_plan import ShardPlan, ShardPlanner
from scenewright_stages.worker.states import (
    AWAITING,
    NO_RECORD,
    TOO_FEW,
    UPSTREAM_CHANGED,
    UPSTREAM_FAILED,
    UPSTREAM_MISSING,
    UPSTREAM_RUNS,
    Evidence,
    States,
    judge,
)
from scenewright_stages.worker.worklists import WorkItem

VIEWS = ("v0", "v1", "v2")
CHILDREN = [Child(f"_{view}", {"view": view, "page": f"{number}.png"}) for number, view in enumerate(VIEWS)]
QUESTION = Ask("{sample}/answer.json", lambda sample: {"best": VIEWS}, "Which view is best?")


def stage(name: str, *reads: Read, **fields: object) -> StageSpec:
    """A stage with one output."""
    outputs = (OutputContract("out", f"{{sample}}/{name}.txt", "text"),)
    return StageSpec(name, 1, "m:C", reads, outputs, **fields)  # type: ignore[arg-type]


PAINT = stage("paint", Read(INPUT), expands=lambda sample: CHILDREN)
MIX = stage("mix", Read("paint", ("out",), of="siblings"))
ALBUM = stage("album", Read("paint", of="children", at_least=2))
POSTER = stage("poster", Read("album", of="children"))


def chain(*stages: StageSpec) -> Chain:
    return chain_of(pipeline_of(*stages), keys={each.name: f"k-{each.name}" for each in stages})


def ended(
    sample: str,
    stage: str,
    state: Literal["done", "failed", "rejected"] = "done",
    upstream: dict[str, dict[str, str]] | None = None,
    content: str = "",
    fingerprint: str = "",
) -> Record:
    outputs = {"out": OutputFile(f"{sample}/{stage}.txt", 1, content or f"{sample}-{stage}")} if state == "done" else {}
    return Record(
        sample,
        stage,
        f"k-{stage}",
        state,
        run="r",
        at=1.0,
        fingerprint=fingerprint,
        upstream=upstream or {},
        outputs=outputs,
        reason="" if state == "done" else "Bad",
    )


def painted(**states: Literal["done", "failed", "rejected"]) -> list[Record]:
    """Records of the views of the sample ``s`` in the stage that paints them."""
    return [ended(f"s_{view}", "paint", state, fingerprint="print-s") for view, state in states.items()]


def judged(chain: Chain, *records: Record, samples: Sequence[str] = ("s",), **answers: str) -> States:
    population = chain.population(photo(name) for name in samples)
    return judge(chain, population, Evidence(by_sample(records), answers=answers))


def planned(chain: Chain, stage: str, sample: str, *records: Record, reason: str = UPSTREAM_RUNS) -> ShardPlan:
    """What the process of a stage does with the line of one sample."""
    population = chain.population([photo("s")])
    found = {each.id: each for level in population.values() for each in level}[sample]
    planner = ShardPlanner(chain, chain.stage(stage), population, "r", 1)
    return planner.plan([WorkItem(found, reason)], Evidence(by_sample(records)))


def test_a_stage_that_gathers_works_on_the_parents_and_one_that_gathers_those_on_the_whole_job() -> None:
    found = chain(PAINT, MIX, ALBUM, POSTER)
    assert found.levels == {"paint": 1, "mix": 1, "album": 0, "poster": -1}
    population = found.population([photo("a"), photo("b")])
    assert [[sample.id for sample in population[level]] for level in (-1, 0)] == [[WHOLE_ID], ["a", "b"]]
    assert [sample.id for sample in population[1]] == [f"{name}_{view}" for name in "ab" for view in VIEWS]


def test_a_stage_that_reads_the_input_beside_what_it_gathers_stays_with_the_indexed_samples() -> None:
    assert stage_levels((PAINT, stage("album", Read(INPUT), Read("paint", of="children"))))["album"] == 0


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (stage("other", Read("album", of="siblings")), "cannot read album of siblings"),
        (stage("other", Read(INPUT), Read("album", of="children")), "cannot read album of children"),
        (stage("other", Read("album"), Read("paint")), None),
        (stage("other", Read("paint", of="children"), Read("paint", ("out",), of="children")), "twice"),
    ],
)
def test_reads_that_contradict_the_levels_are_refused(wrong: StageSpec, why: str | None) -> None:
    if why is None:
        assert stage_levels((PAINT, ALBUM, wrong))["other"] == 1
        return
    with pytest.raises(ConfigurationError, match=why):
        stage_levels((PAINT, ALBUM, wrong))


@pytest.mark.parametrize(
    ("records", "state", "reason"),
    [
        (painted(), "todo", UPSTREAM_RUNS),
        (painted(v0="done", v1="done", v2="done"), "todo", NO_RECORD),
        (painted(v0="done", v1="done", v2="failed"), "todo", NO_RECORD),
        (painted(v0="done", v1="rejected", v2="done"), "todo", NO_RECORD),
        (painted(v0="done", v1="done"), "todo", UPSTREAM_RUNS),
        (painted(v0="failed", v1="done"), "todo", UPSTREAM_RUNS),
        (painted(v0="failed", v1="failed"), "skipped", TOO_FEW),
        (painted(v0="failed", v1="done", v2="rejected"), "skipped", TOO_FEW),
    ],
)
def test_gathering_needs_the_least_number_of_children_that_are_done(
    records: list[Record], state: str, reason: str
) -> None:
    found = judged(chain(PAINT, ALBUM), *records)["album"]["s"]
    assert (found.state, found.reason) == (state, reason)


def test_without_a_least_number_every_child_is_needed_and_the_message_counts() -> None:
    strict = stage("album", Read("paint", of="children"))
    assert judged(chain(PAINT, strict), *painted(v0="done", v1="done", v2="done"))["album"]["s"].state == "todo"
    found = judged(chain(PAINT, strict), *painted(v0="done", v1="failed", v2="done"))["album"]["s"]
    assert (found.state, found.reason) == ("skipped", TOO_FEW)
    assert found.message == "2 of 3 are done in paint, 3 are needed: Bad"


def test_a_sample_that_became_nothing_is_skipped() -> None:
    barren = replace(PAINT, expands=lambda sample: [])
    assert judged(chain(barren, ALBUM))["album"]["s"].reason == TOO_FEW


def test_what_is_gathered_is_up_to_date_until_another_child_is_done() -> None:
    found = chain(PAINT, ALBUM)
    two = painted(v0="done", v1="done", v2="failed")
    (item,) = planned(found, "album", "s", *two).items
    assert [sample.id for sample, _ in item.families["paint"]] == ["s_v0", "s_v1"]
    album = ended("s", "album", upstream={name: dict(hashes) for name, hashes in item.hashes.items()})
    assert judged(found, *two, album)["album"]["s"].state == "done"
    three = [*two, replace(painted(v2="done")[0], at=2.0)]
    assert judged(found, *three, album)["album"]["s"].reason == UPSTREAM_CHANGED
    other = [replace(record, outputs={"out": OutputFile("s_v0/paint.txt", 1, "x")}) for record in two[:1]]
    assert judged(found, *other, *two[1:], album)["album"]["s"].reason == UPSTREAM_CHANGED


def test_a_stage_that_reads_siblings_gets_all_of_them_and_depends_on_each() -> None:
    found = chain(PAINT, MIX)
    all_done = painted(v0="done", v1="done", v2="done")
    (item,) = planned(found, "mix", "s_v1", *all_done).items
    assert [sample.id for sample, _ in item.families["paint"]] == ["s_v0", "s_v1", "s_v2"]
    assert item.upstream == {}
    mixed = ended("s_v1", "mix", upstream={name: dict(hashes) for name, hashes in item.hashes.items()})
    assert judged(found, *all_done, mixed)["mix"]["s_v1"].state == "done"
    redone = replace(all_done[0], at=2.0, outputs={"out": OutputFile("s_v0/paint.txt", 1, "new")})
    assert judged(found, redone, *all_done[1:], mixed)["mix"]["s_v1"].reason == UPSTREAM_CHANGED
    failed = painted(v0="failed", v1="done", v2="done")
    assert judged(found, *failed)["mix"]["s_v1"].reason == TOO_FEW


def test_attributes_of_children_are_read_only_where_they_are_declared_and_then_count() -> None:
    views = painted(v0="done", v1="done", v2="done")

    def gathered(title: str, *names: str) -> dict[str, dict[str, str]]:
        children = [Child(child.ending, {**child.attributes, "title": title}) for child in CHILDREN]
        album = replace(ALBUM, attributes=names)
        (item,) = planned(chain(replace(PAINT, expands=lambda sample: children), album), "album", "s", *views).items
        return {name: dict(hashes) for name, hashes in item.hashes.items()}

    assert gathered("a") == gathered("b")
    assert gathered("a", "title") != gathered("b", "title")


def test_siblings_of_another_parent_are_not_read() -> None:
    found = chain(PAINT, MIX)
    population = found.population([photo("s"), photo("t")])
    records = [ended(f"{name}_{view}", "paint", fingerprint=f"print-{name}") for name in "st" for view in VIEWS]
    items = [WorkItem(sample, NO_RECORD) for sample in population[1]]
    plan = ShardPlanner(found, MIX, population, "r", 1).plan(items, Evidence(by_sample(records)))
    read = {item.sample.id: {sample.root.id for sample, _ in item.families["paint"]} for item in plan.items}
    assert read == {f"{name}_{view}": {name} for name in "st" for view in VIEWS}


def test_a_stage_of_the_whole_job_reads_all_samples_and_runs_when_one_of_them_changes() -> None:
    found = chain(PAINT, ALBUM, POSTER)
    views = [ended(f"{name}_{view}", "paint", fingerprint=f"print-{name}") for name in "st" for view in VIEWS]
    states = judged(found, *views, samples="st")
    assert {name: state.state for name, state in states["album"].items()} == {"s": "todo", "t": "todo"}
    assert states["poster"][WHOLE_ID].reason == UPSTREAM_RUNS
    population = found.population([photo("s"), photo("t")])
    album = ShardPlanner(found, ALBUM, population, "r", 1).plan(
        [WorkItem(sample, NO_RECORD) for sample in population[0]], Evidence(by_sample(views))
    )
    albums = [ended(item.sample.id, "album", upstream=dict(item.hashes)) for item in album.items]  # type: ignore[arg-type]
    poster = ShardPlanner(found, POSTER, population, "r", 1).plan(
        [WorkItem(population[-1][0], NO_RECORD)], Evidence(by_sample([*views, *albums]))
    )
    assert [sample.id for sample, _ in poster.items[0].families["album"]] == ["s", "t"]
    done = ended(WHOLE_ID, "poster", upstream=dict(poster.items[0].hashes))  # type: ignore[arg-type]
    assert judged(found, *views, *albums, done, samples="st")["poster"][WHOLE_ID].state == "done"
    again = replace(albums[0], at=2.0, outputs={"out": OutputFile("s/album.txt", 1, "new")})
    assert judged(found, *views, again, albums[1], done, samples="st")["poster"][WHOLE_ID].reason == UPSTREAM_CHANGED


def many(sample: str, stage: str, hashes: dict[str, str], at: float = 1.0) -> Record:
    """A stage that made numbered files, given by their hashes."""
    parts = {name: (1, digest) for name, digest in hashes.items()}
    made = OutputFile.of_parts(f"{sample}/{stage}/{{number}}.png", parts)
    return Record(sample, stage, f"k-{stage}", "done", at=at, fingerprint="print-s", outputs={"out": made})


PAGES = StageSpec(
    "pages", 1, "m:C", (Read(INPUT),), (OutputContract("out", "{sample}/pages/{number}.png", "bytes", form="numbered"),)
)
ONE_PAGE = stage("one", Read("pages", ("out",), part="page"), expands=lambda sample: CHILDREN, attributes=("page",))


def test_a_child_that_reads_a_part_depends_on_its_own_file_alone() -> None:
    found = chain(PAGES, ONE_PAGE)
    pages = many("s", "pages", {"0.png": "a", "1.png": "b", "2.png": "c"})
    children = found.population([photo("s")])[1]
    planner = ShardPlanner(found, ONE_PAGE, found.population([photo("s")]), "r", 1)
    plan = planner.plan([WorkItem(child, NO_RECORD) for child in children], Evidence(by_sample([pages])))
    assert [item.hashes for item in plan.items] == [{"pages": {"out": digest}} for digest in "abc"]
    assert plan.items[1].upstream["pages"]["out"] == OutputFile("s/pages/1.png", 1, "b")
    records = [
        ended(item.sample.id, "one", upstream=dict(item.hashes), fingerprint=item.fingerprint)  # type: ignore[arg-type]
        for item in plan.items
    ]
    other = many("s", "pages", {"0.png": "a", "1.png": "X", "2.png": "c"}, at=2.0)
    states = judged(found, other, *records)["one"]
    assert {name: state.reason for name, state in states.items()} == {
        "s_v0": "",
        "s_v1": UPSTREAM_CHANGED,
        "s_v2": "",
    }


def test_a_child_whose_part_was_not_made_is_skipped() -> None:
    found = judged(chain(PAGES, ONE_PAGE), many("s", "pages", {"0.png": "a"}))["one"]
    assert (found["s_v0"].state, found["s_v1"].state) == ("todo", "skipped")
    assert (found["s_v1"].reason, found["s_v1"].message) == (UPSTREAM_MISSING, "pages made no 1.png")


def test_several_reads_of_one_stage_add_up() -> None:
    made = replace(PAINT, expands=None, outputs=(*PAINT.outputs, OutputContract("more", "{sample}/more.txt", "text")))
    found = chain(made, stage("both", Read("paint", ("out",)), Read("paint", ("more",))))
    done = ended("s", "paint", fingerprint="print-s")
    done = replace(done, outputs={**done.outputs, "more": OutputFile("s/more.txt", 1, "m")})
    (item,) = planned(found, "both", "s", done).items
    assert item.hashes == {"paint": {"out": "s-paint", "more": "m"}}
    assert set(item.upstream["paint"]) == {"out", "more"}


ASKED = stage("choose", Read("paint", of="children", at_least=1), asks=QUESTION)
AFTER = stage("after", Read("choose"))


def test_a_stage_that_asks_waits_for_the_answer_and_so_does_what_reads_it() -> None:
    found = chain(PAINT, ASKED, AFTER)
    views = painted(v0="done", v1="done", v2="done")
    states = judged(found, *views)
    assert {(states[name]["s"].state, states[name]["s"].reason) for name in ("choose", "after")} == {
        ("awaiting", AWAITING)
    }
    assert states["choose"]["s"].message == "Which view is best?"
    states = judged(found, *views, **{"s/answer.json": "hash"})
    assert (states["choose"]["s"].state, states["after"]["s"].reason) == ("todo", UPSTREAM_RUNS)


def test_a_stage_that_asks_is_not_listed_before_there_is_an_answer_even_where_its_candidates_are_still_made() -> None:
    assert judged(chain(PAINT, ASKED))["choose"]["s"].state == "awaiting"


def test_another_answer_runs_the_stage_again() -> None:
    found = chain(PAINT, ASKED)
    views = painted(v0="done", v1="done", v2="done")
    population = found.population([photo("s")])
    evidence = Evidence(by_sample(views), answers={"s/answer.json": "first"})
    (item,) = ShardPlanner(found, ASKED, population, "r", 1).plan([WorkItem(photo("s"), NO_RECORD)], evidence).items
    assert item.answer == "s/answer.json"
    chosen = ended("s", "choose", upstream=dict(item.hashes), fingerprint=item.fingerprint)  # type: ignore[arg-type]
    assert judged(found, *views, chosen, **{"s/answer.json": "first"})["choose"]["s"].state == "done"
    assert judged(found, *views, chosen, **{"s/answer.json": "second"})["choose"]["s"].reason == "input changed"


def test_an_answer_that_was_taken_back_before_the_stage_ran_is_awaited_again() -> None:
    plan = planned(chain(PAINT, ASKED), "choose", "s", *painted(v0="done", v1="done", v2="done"))
    assert plan.items == []
    assert [(record.state, record.reason) for record, _ in plan.records] == [("skipped", AWAITING)]


def test_gathering_waits_for_children_that_wait_unless_enough_are_done() -> None:
    ask = replace(QUESTION, path="{sample}/answer.json")
    chosen = replace(PAINT, asks=ask)
    found = chain(chosen, ALBUM)
    one = painted(v0="done")[0]
    answered = {f"s_{view}/answer.json": "hash" for view in ("v0", "v1")}
    done = [replace(one, sample=f"s_{view}", fingerprint="print-s|answer=hash") for view in ("v0", "v1")]
    assert judged(found, *done[:1], **answered)["album"]["s"].reason == UPSTREAM_RUNS
    waiting = judged(found, done[0], **{"s_v0/answer.json": "hash"})["album"]["s"]
    assert (waiting.state, waiting.reason, waiting.message) == ("awaiting", AWAITING, "paint waits for an answer")
    assert judged(found, *done, **answered)["album"]["s"].state == "todo"


def test_units_of_a_publication_are_gathered_samples_and_name_what_failed_below_them() -> None:
    found = chain(PAINT, ALBUM)
    views = painted(v0="done", v1="done", v2="failed")
    (item,) = planned(found, "album", "s", *views).items
    album = ended("s", "album", upstream=dict(item.hashes))  # type: ignore[arg-type]
    states = judged(found, *views, album)
    population = found.population([photo("s")])
    (end,) = sample_ends(found, [photo("s")], population, states)
    assert (end.sample.id, end.state) == ("s", "done")
    assert [(sample.id, state.state) for _, sample, state in end.below] == [
        ("s_v0", "done"),
        ("s_v1", "done"),
        ("s_v2", "failed"),
    ]
    counts = stage_counts(PAINT, states)
    assert (counts.total, counts.done, counts.failed) == (3, 2, 1)
    (lost,) = sample_ends(found, [photo("s")], population, judged(found, *painted(v0="failed", v1="failed")))
    assert (lost.state, lost.stage, lost.reason) == ("missing", "paint", "Missing"), "v2 has no record"


def test_children_of_a_failed_sample_are_skipped_with_its_reason() -> None:
    first = stage("first", Read(INPUT))
    found = chain(first, replace(PAINT, reads=(Read("first"),)))
    states = judged(found, ended("s", "first", "failed", fingerprint="print-s"))["paint"]
    assert {(state.state, state.reason, state.message) for state in states.values()} == {
        ("skipped", UPSTREAM_FAILED, "first failed: Bad")
    }


def test_two_samples_that_become_one_id_are_refused() -> None:
    found = chain(replace(PAINT, expands=lambda sample: [Child("_a"), Child("_a_b" if sample.id == "s" else "_c")]))
    refuse_shared_paths(found, found.population([photo("s"), photo("t")]))
    twice = chain(replace(PAINT, expands=lambda sample: [Child("_a_b") if sample.id == "s" else Child("_b")]))
    with pytest.raises(ConfigurationError, match="s and s_a would both become this sample"):
        refuse_shared_paths(twice, twice.population([photo("s"), Sample("s_a")]))


def test_nothing_is_asked_of_a_sample_without_options() -> None:
    silent = replace(ASKED, asks=replace(QUESTION, options=lambda sample: {}))
    views = painted(v0="done", v1="done", v2="done")
    assert judged(chain(PAINT, silent), *views)["choose"]["s"].state == "todo"
    (item,) = planned(chain(PAINT, silent), "choose", "s", *views).items
    assert item.answer == ""


def test_what_a_rule_left_out_is_counted_once_where_the_rule_applied_however_many_children_it_has() -> None:
    first = stage("first", Read(INPUT))
    found = chain(first, replace(PAINT, reads=(Read("first"),)))
    samples = [photo(root) for root in ("a", "b", "c")]
    population = found.population(samples)
    records = [ended(root, "first", "rejected", fingerprint=f"print-{root}") for root in ("a", "b")]
    states = judged(found, *records, ended("c", "first", fingerprint="print-c"), samples=("a", "b", "c"))
    ends = sample_ends(found, samples, population, states)
    results = results_of(found, population, states, ends)
    assert left_out(found, states) == {"Bad": 2}
    assert results.warnings == ["2 of 3 samples rejected in first: Bad"]
    assert (results.units.rejected, results.units.missing, results.units.total) == (6, 3, 9)
    assert [(cause.sample, cause.end, cause.units) for cause in results.causes if cause.end == "rejected"] == [
        ("a", "rejected", 3),
        ("b", "rejected", 3),
    ]
