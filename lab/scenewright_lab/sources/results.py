"""Turns what a run leaves beside its results into an object like one of the API server.

So the views of ``scenewright status`` show folders, too, and the pages know one kind of object only. Pure functions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from pydantic import ValidationError

from scenewright.api.raw import Json, RawJson
from scenewright.execution.events import Progress
from scenewright.planning.protocol import end_of_run
from scenewright_stages.contract.reports import AWAITING, Report, StageCounts
from scenewright_stages.contract.task import INDEX_STEP, PUBLISH_STEP


@dataclass(frozen=True)
class Found:
    """What was read of one object.

    Attributes:
        job: the manifest of the last run; empty if it is not there.
        run, published: ids of the last run and of the published one.
        reports: of the last run, by step.
        summary: of the published run.
        live: progress of the processes that work on it at this moment.
        running: somebody holds the output's lock.
        modified: when it last changed, in seconds since the epoch.
        created: when its first run began.
    """

    name: str
    job: RawJson = field(default_factory=dict)
    run: str = ""
    published: str = ""
    reports: Mapping[str, Report] = field(default_factory=dict)
    summary: RawJson = field(default_factory=dict)
    live: Sequence[Progress] = ()
    running: bool = False
    modified: float = 0.0
    created: float = 0.0

    @classmethod
    def from_json(cls, found: RawJson, title: str) -> Found:
        """From what the storage process tells of an object."""
        reports = {}
        for step, report in found["reports"].items():
            with contextlib.suppress(ValidationError):
                reports[step] = Report.model_validate({"step": step, **report})
        kept = ("job", "run", "published", "summary", "running", "modified", "created")
        live = [Progress.from_json(each) for each in found["live"] if "step" in each]
        return cls(title, reports=reports, live=live, **{name: found[name] for name in kept})


def raw_object(found: Found) -> Json:
    """The object with the status that an operator would have written."""
    spec = dict(found.job.get("spec") or {})
    stages = [_stage(found, name) for name in _names(found)]
    phase, reason, message = _phase(found)
    final = found.reports.get(PUBLISH_STEP)
    units = final.counted() if final else None
    ended = {"Complete": "Complete", "Failed": "Failed", "Suspended": "Suspended", "Waiting": "Waiting"}
    status: Json = {
        "observedGeneration": 1,
        "phase": phase,
        "run": found.run or found.published,
        "pipeline": str(found.summary.get("pipeline", "")),
        "stage": next((each["name"] for each in stages if each["state"] == "Running"), ""),
        "progress": f"{units.done}/{units.total}" if units else _progress(stages),
        "failed": units.failed if units else sum(each["samples"]["failed"] for each in stages),
        "stages": stages,
        "conditions": [
            {"type": ended.get(phase, "Progressing"), "status": "True", "reason": reason, "message": message}
        ],
        "failures": _failures(found, final),
        "warnings": list(found.summary.get("warnings") or (final.warnings if final else ())),
    }
    kind = str(found.job.get("kind") or "SceneJob")
    name = str((found.job.get("metadata") or {}).get("name") or found.summary.get("name") or found.name)
    created = datetime.fromtimestamp(found.created or found.modified, UTC).isoformat()
    metadata = {"name": name, "namespace": "", "creationTimestamp": created, "generation": 1}
    return {"kind": kind, "metadata": metadata, "spec": spec, "status": status}


def _names(found: Found) -> list[str]:
    """The stages in the order of the chain, as reports have them."""
    for step in (INDEX_STEP, PUBLISH_STEP):
        if step in found.reports and found.reports[step].stages:
            return list(found.reports[step].stages)
    return list(found.summary.get("stages") or {})


def _stage(found: Found, name: str) -> Json:
    live = [each for each in found.live if each.step == name]
    planned = _counts(found, INDEX_STEP, name)
    ended = _counts(found, PUBLISH_STEP, name) or _counts(found, name, name)
    if live and planned and sum(each.done + each.failed + each.skipped for each in live) < planned.todo:
        # A shard's report is that of the stage only once all have ended.
        ended = None
    elif ended is not None:
        live = []
    counts = ended or planned or StageCounts()
    samples = counts.model_dump(by_alias=True, include={"total", "done", "failed", "skipped", "rejected", "awaiting"})
    if ended is None and live:
        samples["done"] += sum(each.done for each in live)
        samples["failed"] += sum(each.failed for each in live)
        samples["skipped"] += sum(each.skipped for each in live)
    stage: Json = {"name": name, "state": _state(planned, ended, bool(live)), "samples": samples}
    stage["gpuSeconds"] = counts.gpu_seconds
    stage["samplesPerMinute"] = sum(each.samples_per_minute for each in live)
    stage["numbers"] = {key: value for each in live for key, value in each.numbers.items()}
    stage["seconds"] = counts.wall_seconds or counts.seconds
    stage["doing"] = "; ".join(filter(None, map(_doing, live)))
    return stage


def _doing(live: Progress) -> str:
    """``china · 119807 Gaussians · 35%``"""
    share = f"{live.fraction:.0%}" if live.fraction else ""
    return " · ".join(filter(None, (live.sample, live.message or live.phase, share)))


def _counts(found: Found, step: str, name: str) -> StageCounts | None:
    report = found.reports.get(step)
    return report.stages.get(name) if report else None


def _state(planned: StageCounts | None, ended: StageCounts | None, live: bool) -> str:
    if ended is not None:
        if ended.failed and not ended.done:
            return "Failed"
        return "UpToDate" if planned is not None and not planned.todo and ended.done else "Done"
    if live:
        return "Running"
    if planned is not None and planned.total and planned.done == planned.total:
        return "UpToDate"
    return "Pending"


def _phase(found: Found) -> tuple[str, str, str]:
    """Phase, reason and message."""
    final = found.reports.get(PUBLISH_STEP)
    refused = next((each for each in found.reports.values() if each.reason), None)
    if found.running:
        return _running(found)
    if refused is not None:
        return "Failed", refused.reason, refused.message
    if final is not None:
        return _ended(final)
    if found.run and found.run != found.published:
        return "Suspended", "Interrupted", "it was stopped before its end; a retry continues with it"
    if found.summary:
        samples = found.summary.get("samples") or {}
        told = ", ".join(f"{number} {name}" for name, number in samples.items() if number and name != "total")
        return "Complete" if samples.get("done") else "Failed", "Published", told
    return "Pending", "NotStarted", "nothing has run yet"


def _running(found: Found) -> tuple[str, str, str]:
    steps = {each.step for each in found.live}
    if INDEX_STEP not in found.reports:
        return "Indexing", "Indexing", "reads the input"
    if PUBLISH_STEP in steps:
        return "Publishing", "Publishing", "writes manifests and pages"
    return "Running", "Running", ""


def _ended(final: Report) -> tuple[str, str, str]:
    end, units = end_of_run(final), final.counted()
    if end.reason == AWAITING:
        return "Waiting", end.reason, f"{end.message} for a choice"
    good = units.done or not units.failed + units.missing
    return "Complete" if good else "Failed", end.reason, end.message


def _progress(stages: Sequence[RawJson]) -> str:
    total = sum(each["samples"]["total"] for each in stages)
    done = sum(each["samples"]["done"] for each in stages)
    return f"{done}/{total}" if total else ""


def _failures(found: Found, final: Report | None) -> list[Json]:
    whole = found.summary.get("failures") if found.run == found.published else None
    return list(islice(whole or [each.model_dump() for each in (final.failures if final else ())], 200))
