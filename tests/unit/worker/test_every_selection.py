"""Every prefix and every single stage of every installed pipeline, on fresh, half-finished and finished outputs.

The oracle is the definition, written down again here without the code under test: a unit is done if all selected
stages that concern it are, what is not selected is no failure, and every reader tells the same numbers.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from selections import Output, cases, subject

from scenewright.execution.outcomes import of_publication
from scenewright.planning.protocol import ends_text
from scenewright.reconcile.decide.counts import unit_status
from scenewright_stages.contract.pipeline import INPUT
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.results import Results
from scenewright_stages.contract.stage import Catalogue, CatalogueEntry
from scenewright_stages.worker.chain import Chain
from scenewright_stages.worker.index.work import plan_work
from scenewright_stages.worker.publish.catalogue import catalogue_of, is_called
from scenewright_stages.worker.publish.ends import SampleEnd, results_of, sample_ends
from scenewright_stages.worker.publish.manifests import dropped_table, failures, manifest_lines, summary
from scenewright_stages.worker.states import States


def _shown(value: object) -> str:
    return "+".join(value) if isinstance(value, tuple) else str(value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("selections")


def runnable(chain: Chain, made: set[str]) -> bool:
    """Whether every selected stage finds all that it reads made or selected before it."""
    there = set(made)
    for stage in chain.stages:
        if stage.name in chain.selected:
            if not all(read.stage == INPUT or read.stage in there for read in stage.reads):
                return False
            there.add(stage.name)
    return True


def lacking(chain: Chain, end: SampleEnd, states: States) -> list[str]:
    """Selected stages in which the unit, an ancestor or a sample below it is not done."""
    return [
        stage.name
        for stage in chain.selected_stages()
        for sample, state in states[stage.name].items()
        if state.state != "done" and related_by_id(end, sample)
    ]


def related_by_id(end: SampleEnd, sample: str) -> bool:
    lineage = {each.id for each in end.sample.lineage()}
    return sample in lineage or sample in {one.id for _, one, _ in end.below}


@pytest.mark.parametrize(("name", "selected", "state"), cases(), ids=_shown)
def test_a_selection_has_the_right_end_counts_and_files(
    name: str, selected: tuple[str, ...], state: str, folder: Path
) -> None:
    tried = subject(name, selected, folder)
    output, chain = Output(tried), tried.chain(selected)
    output.prepare(state)
    made = {record.stage for record in output.records}
    work = plan_work(chain, output.population, output.evidence())
    refused = any(
        work[stage.name].counts.total and work[stage.name].unreachable == work[stage.name].counts.total
        for stage in chain.selected_stages()
    )
    if not runnable(chain, made):
        assert refused, "it reads what is neither made nor selected"
        return
    assert state == "half" or not refused
    if refused:
        # All samples of a stage lack some of the half that is there.
        return
    output.run(selected)
    states = output.states(chain)
    ends = sample_ends(chain, tried.roots, output.population, states)
    results = results_of(chain, output.population, states, ends)
    _check_ends(chain, ends, states, results)
    _check_readers(tried.pipeline.name, chain, ends, states, results, output.paths())


def _check_ends(chain: Chain, ends: list[SampleEnd], states: States, results: Results) -> None:
    levels = {len(end.sample.lineage()) for end in ends if not end.refused}
    assert len(levels) == 1, "parents and children are never in one count"
    for end in ends:
        short = lacking(chain, end, states)
        if end.state == "done":
            assert not short
            assert end.done_records(), "something of it is there"
        elif end.state == "not selected":
            assert not short and all(chain.levels[name] < levels.copy().pop() - 1 for name in chain.selected)
        else:
            assert short, (end.state, end.reason)
    units = results.units
    assert units.total == len(ends) == sum(number for _, number in results.counted())
    for stage in results.stages:
        assert stage.selected or not stage.counts.failed, "what is not selected has not failed"


def _check_readers(
    name: str, chain: Chain, ends: list[SampleEnd], states: States, results: Results, paths: set[str]
) -> None:
    units = results.units
    lines = [json.loads(line) for line in manifest_lines(chain, ends).splitlines()]
    assert len(lines) == len({line["id"] for line in lines}) == units.done
    published = {file["path"].rstrip("/") for line in lines for file in line["files"].values()}
    folders = {path.rpartition("/")[0] for path in paths}
    assert all(path in paths or path in folders or "{number" in path for path in published), "a file that nobody made"
    told = json.loads(summary(chain, name, results, ends, states))
    assert told["samples"]["done"] == units.done and told["samples"]["failed"] == units.failed
    assert told["times"]["total"]["wallSeconds"] == results.time.wall_seconds
    rows = list(csv.DictReader(io.StringIO(dropped_table(results, ends).decode())))
    assert not any(row["reason"] == "NotSelected" for row in rows)
    reasons = [row["reason"].startswith("Upstream") and row["reason"] != "UpstreamMissing" for row in rows]
    assert reasons == sorted(reasons), "causes come first"
    report = Report(
        step="publish", samples=units.total, units=units, publication="hash", failures=failures(results),
        stages={stage.name: stage.counts for stage in results.stages},
    )  # fmt: skip
    again = Report.from_bytes(report.to_bytes())
    assert again.counted() == units and unit_status(again).done == units.done
    plan: Any = SimpleNamespace(chain=chain.stages, input_uri="")
    lost = units.failed or any(stage.counts.failed for stage in results.stages)
    assert (of_publication(plan, again).exit_code == 0) == (not lost)
    assert ends_text(units).startswith(f"{units.done} sample")
    catalogue = catalogue_of(chain, "job", job_of(name, chain), ends, results, lambda path: MASK)
    if is_called(chain, catalogue):
        call(chain, catalogue)


MASK = cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes()


def call(chain: Chain, catalogue: Catalogue) -> None:
    """The pipeline's own functions, which must bear every selection."""
    for function in (chain.pipeline.catalogue, chain.pipeline.chosen):
        if function:
            entries: list[CatalogueEntry] = list(catalogue.entries)
            assert all(record.state == "done" for entry in entries for record in entry.records.values())
            resolve_name(function)(catalogue)


def job_of(name: str, chain: Chain) -> dict[str, Any]:
    return {"spec": {name: dict(chain.block), "execution": {"stages": {"only": sorted(chain.selected)}}}}
