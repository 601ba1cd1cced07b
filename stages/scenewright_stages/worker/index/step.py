"""The index step: reads the input, lists the samples, and decides what must run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from scenewright_stages.contract import layout
from scenewright_stages.contract.errors import ConfigurationError
from scenewright_stages.contract.pipeline import StageSpec
from scenewright_stages.contract.reports import Failure, Report
from scenewright_stages.contract.samples import ID_FIELD, Sample
from scenewright_stages.contract.task import INDEX_STEP
from scenewright_stages.worker.chain import Chain
from scenewright_stages.worker.evidence import notes_of, read_evidence, taking_part
from scenewright_stages.worker.files import FINGERPRINTS
from scenewright_stages.worker.index.inputs import InputListing, read_input
from scenewright_stages.worker.index.work import StageWork, check_family, plan_work, refuse_shared_paths
from scenewright_stages.worker.process.reporting import write_atomically
from scenewright_stages.worker.process.session import Session
from scenewright_stages.worker.publications import resolve

PLANNED_SAMPLES = 1000


def run_index(session: Session) -> Report:
    """Makes index and worklists; with `plan_only` it writes nothing to the output.

    Raises:
        ConfigurationError: no input, invalid selection, output in use, or nothing can run.
    """
    task, chain = session.task, session.chain
    session.progress.begin_step(INDEX_STEP, "indexing")
    listing = read_input(task, chain.pipeline, session.output)
    listing = replace(listing, samples=tuple(_with_family_checked(sample, chain) for sample in listing.samples))
    inputs = {name: resolve(name, wanted).hash for name, wanted in sorted(task.inputs.items())}
    work = _work(session, listing.samples, inputs)
    report = _report(session, listing, work)
    if not task.plan_only:
        # Lock only now, so that a refused job leaves no trace. Stages read the records again and so see what another
        # holder finished in the meantime.
        session.lock.acquire()
        _store(session, listing, work, inputs)
    if session.settings.report_folder is not None:
        plan = json.dumps(_plan(session, listing, work, report.warnings), ensure_ascii=False, indent=1)
        write_atomically(session.settings.report_folder / "plan.json", plan.encode())
    return report


def _with_family_checked(sample: Sample, chain: Chain) -> Sample:
    """The sample; rejected if its entry sets invalid parameters or its family gets invalid ids or paths."""
    if sample.rejected is not None:
        return sample
    try:
        check_family(chain, sample)
    except ConfigurationError as problem:
        reason = "BadSampleId" if problem.field == ID_FIELD else "BadEntry"
        return replace(sample, rejected=(reason, str(problem)))
    return sample


def _work(session: Session, samples: Sequence[Sample], inputs: Mapping[str, str]) -> dict[str, StageWork]:
    task, chain = session.task, session.chain
    population = chain.population(taking_part(samples))
    refuse_shared_paths(chain, population)
    work = plan_work(
        chain,
        population,
        read_evidence(chain, population, session.output, inputs),
        retry_failed=task.retry_failed,
        forced_by=task.run if task.force else "",
        samples_per_shard=task.samples_per_shard,
    )
    for stage in chain.selected_stages():
        total = work[stage.name].counts.total
        if total and work[stage.name].unreachable == total:
            raise ConfigurationError(
                "spec.execution.stages",
                sorted(chain.selected),
                f"no sample can run {stage.name}: it reads {' and '.join(_shown(chain, stage))}, not up to date in "
                f"{session.output.uri} and not selected; select the earlier stages too, or run them first",
            )
    return work


def _shown(chain: Chain, stage: StageSpec) -> list[str]:
    """The stages that a stage reads, each with the path of its first result."""
    shown = []
    for name in stage.upstream():
        results = [output.path for output in chain.stage(name).outputs if output.result]
        shown.append(f"{name} ({results[0].replace('{', '<').replace('}', '>')})" if results else name)
    return shown


def _store(session: Session, listing: InputListing, work: Mapping[str, StageWork], inputs: Mapping[str, str]) -> None:
    output, run = session.output, session.task.run
    output.put_bytes(layout.JOB, json.dumps(session.task.job, sort_keys=True, indent=2, ensure_ascii=False).encode())
    lines = (json.dumps(sample.to_json(), separators=(",", ":"), ensure_ascii=False) for sample in listing.samples)
    output.put_bytes(layout.INDEX, _lines(lines))
    for stage in session.chain.selected_stages():
        output.put_bytes(layout.worklist(run, stage.name), _lines(item.to_line() for item in work[stage.name].todo))
    if warnings := _warnings(listing):
        output.put_bytes(layout.index_warnings(run), json.dumps(warnings, ensure_ascii=False).encode())
    if inputs:
        output.put_bytes(layout.run_inputs(run), json.dumps(inputs, sort_keys=True).encode())
    if listing.fingerprints.changed():
        output.put_bytes(FINGERPRINTS, listing.fingerprints.content())


def _report(session: Session, listing: InputListing, work: dict[str, StageWork]) -> Report:
    rejected = [sample for sample in listing.samples if sample.rejected is not None]
    return Report(
        step=INDEX_STEP,
        run=session.task.run,
        samples=len(listing.samples) - len(rejected),
        rejected=len(rejected),
        stages={name: stage.counts for name, stage in work.items()},
        failures=[rejection(sample) for sample in rejected[:20]],
        warnings=_warnings(listing),
    )


def rejection(sample: Sample) -> Failure:
    """A rejected sample as a failure of the index."""
    reason, message = sample.rejected or ("", "")
    return Failure(sample=sample.id, stage=INDEX_STEP, reason=reason, message=message)


def _warnings(listing: InputListing) -> list[str]:
    """Notes on the input: of each sample, then on files that belong to none."""
    return [*notes_of(listing.samples), *listing.notes]


def _plan(
    session: Session, listing: InputListing, work: dict[str, StageWork], warnings: Sequence[str]
) -> dict[str, Any]:
    rejected = [rejection(sample) for sample in listing.samples if sample.rejected is not None]
    return {
        "samples": len(listing.samples) - len(rejected),
        "rejected": [{"id": one.sample, "reason": one.reason, "message": one.message} for one in rejected],
        "ignored": len(listing.ignored),
        "stages": [
            _planned_stage(work[stage.name], stage.name in session.chain.selected) for stage in session.chain.stages
        ],
        "warnings": list(warnings),
    }


def _planned_stage(work: StageWork, selected: bool) -> dict[str, Any]:
    counts = work.counts.model_dump(include={"total", "todo", "done", "failed", "skipped", "awaiting", "shards"})
    samples = [{"id": item.sample.id, "reason": item.reason} for item in work.todo[:PLANNED_SAMPLES]]
    return {"name": work.stage, "selected": selected, **counts, "reasons": work.reasons(), "samples": samples}


def _lines(lines: Any) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
