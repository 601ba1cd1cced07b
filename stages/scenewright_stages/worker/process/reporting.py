"""Delivers reports to the process's starter: to storage, the termination message and a local folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from scenewright_stages.contract import layout
from scenewright_stages.contract.errors import ConfigurationError, OutputInUse
from scenewright_stages.contract.reports import Report
from scenewright_stages.contract.results import merged_warnings
from scenewright_stages.store import Store, StoreError
from scenewright_stages.worker.process.settings import ProcessSettings


def deliver(report: Report, merged: Report, settings: ProcessSettings, store: Store | None) -> None:
    """Writes a step's report everywhere it is expected.

    Args:
        report: of the step.
        merged: of all steps of this process so far, for its single termination message.
        settings: give the local paths.
        store: the output, None to leave it untouched. If it fails, the local copies still have the report.
    """
    content = report.to_bytes()
    if settings.report_folder is not None:
        write_atomically(settings.report_folder / f"{report.step}.report.json", content)
    if settings.termination_log is not None:
        # Written in place, because the kubelet bind-mounts this file.
        settings.termination_log.write_bytes(merged.to_bytes())
    if store is not None:
        try:
            store.put_bytes(layout.report(report.run, report.step), content)
        except StoreError as problem:
            print(f"the report could not be stored: {problem}", file=sys.stderr, flush=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces a local file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def merge_reports(reports: Sequence[Report]) -> Report:
    """Merges the reports of a process's steps: the last one, plus counts and warnings that it does not mention."""
    last = reports[-1]
    stages = {name: counts for report in reports for name, counts in report.stages.items()}
    # A step that publishes tells the warnings of all steps before it, in full.
    told = last.warnings if last.publication else merged_warnings(*(report.warnings for report in reports))
    rejected = max(report.rejected for report in reports)
    return last.model_copy(update={"stages": stages, "rejected": rejected, "warnings": told})


def refusal_report(step: str, run: str, reason: str, problem: ConfigurationError) -> Report:
    """Report of a configuration error: its three parts, and all of it as the message."""
    return Report(
        step=step,
        run=run,
        reason=reason,
        message=str(problem),
        retry_at=problem.until if isinstance(problem, OutputInUse) else 0.0,
        outputs={"field": problem.field, "value": str(problem.value), "remedy": problem.remedy},
    )
