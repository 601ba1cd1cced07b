"""The ``pick`` step: shows which samples wait for a person's choice, and stores choices beside the candidates.

It runs on the user's own machine; no process in the cluster ever waits for an answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from scenewright_stages.contract.errors import ConfigurationError, ScenewrightError
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.samples import Sample
from scenewright_stages.contract.task import PICK_STEP
from scenewright_stages.store import ObjectMissing
from scenewright_stages.worker.chain import Chain, Population
from scenewright_stages.worker.evidence import check_answer, read_evidence, read_index, taking_part
from scenewright_stages.worker.process.reporting import write_atomically
from scenewright_stages.worker.process.session import Session
from scenewright_stages.worker.states import answer_path, judge

QUESTIONS = "questions.json"


def run_pick(session: Session) -> Report:
    """Stores the task's answers, then writes the open questions to ``questions.json`` in the report folder.

    Raises:
        ConfigurationError: no run has listed the samples yet, or an answer is invalid.
    """
    session.progress.begin_step(PICK_STEP, "looking")
    chain, output = session.chain, session.output
    try:
        samples = taking_part(read_index(output))
    except ObjectMissing:
        raise ConfigurationError("spec.output.uri", output.uri, "holds no run yet: run the manifest first") from None
    population = chain.population(samples)
    for pick in session.task.picks:
        stage, sample = _asked(chain, population, pick.sample)
        _check(stage, sample, pick.answer)
        content = json.dumps(pick.answer, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        output.put_bytes(answer_path(stage, sample), content.encode())
    questions = _questions(session, population)
    if session.settings.report_folder is not None:
        text = json.dumps(questions, indent=1, ensure_ascii=False)
        write_atomically(session.settings.report_folder / QUESTIONS, text.encode())
    return Report(step=PICK_STEP, run=session.task.run, samples=len(questions))


def _asked(chain: Chain, population: Population, sample_id: str) -> tuple[StageSpec, Sample]:
    """The stage that asks about a sample."""
    for stage in chain.stages:
        if stage.asks is not None:
            for sample in population[chain.levels[stage.name]]:
                if sample.id == sample_id:
                    return stage, sample
    raise ConfigurationError("sample", sample_id, "no stage asks about a sample of this name")


def _check(stage: StageSpec, sample: Sample, answer: Mapping[str, str]) -> None:
    assert stage.asks is not None
    try:
        check_answer(answer, stage.asks.options(sample))
    except ScenewrightError as problem:
        raise ConfigurationError(f"{stage.name}.{sample.id}", dict(answer), str(problem)) from None


def _questions(session: Session, population: Population) -> list[dict[str, Any]]:
    """The open questions: sample, question, options, and the files to choose from."""
    chain, output = session.chain, session.output
    states = judge(chain, population, read_evidence(chain, population, output, {}))
    found = []
    for stage in chain.stages:
        for sample in population[chain.levels[stage.name]] if stage.asks is not None else ():
            if states[stage.name][sample.id].state == "awaiting":
                assert stage.asks is not None
                above = [states[read.stage].get(sample.id) for read in stage.reads if read.stage in states]
                outputs = {
                    name: output.uri_of(file.path)
                    for state in above
                    if state is not None and state.record is not None
                    for name, file in state.record.outputs.items()
                }
                options = {name: list(allowed) for name, allowed in stage.asks.options(sample).items()}
                found.append(
                    {
                        "sample": sample.id,
                        "stage": stage.name,
                        "text": stage.asks.text,
                        "options": options,
                        "candidates": outputs,
                        "answer": output.uri_of(answer_path(stage, sample)),
                    }
                )
    return found
