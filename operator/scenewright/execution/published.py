"""The whole story of a publication: reports are cut to fit a Pod's termination message, local results are not."""

from __future__ import annotations

import csv
import json
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from scenewright_stages.contract import layout
from scenewright_stages.contract.reports import MAXIMUM_FAILURES, Failure, Report

DROPPED = "dropped.csv"
SUMMARY = "summary.json"


def completed(report: Report, output_uri: str) -> Report:
    """The report of publish with failures and warnings in full; unchanged when the output is not local."""
    if not output_uri.startswith("file://"):
        return report
    folder = _folder(output_uri)
    failures, warnings = _failures(folder / DROPPED), _warnings(folder / SUMMARY)
    changes = {"failures": failures or report.failures, "warnings": warnings or report.warnings}
    return report.model_copy(update=changes)


def last_retry_token(output_uri: str) -> str | None:
    """``execution.retryToken`` of the last run into a local output; None when there was none or it is not local."""
    if not output_uri.startswith("file://"):
        return None
    try:
        job = json.loads((_folder(output_uri) / layout.JOB).read_text(encoding="utf-8"))
        return str(job["spec"]["execution"]["retryToken"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _folder(output_uri: str) -> Path:
    return Path(unquote(output_uri.removeprefix("file://")))


def _failures(path: Path) -> list[Failure]:
    """The first rows of the list of all samples that are not done."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(islice(csv.DictReader(file), MAXIMUM_FAILURES))
    except (OSError, csv.Error):
        return []
    names = Failure.model_fields
    return [Failure(**{name: row.get(name) or "" for name in names}) for row in rows]


def _warnings(path: Path) -> list[str]:
    try:
        return [str(warning) for warning in json.loads(path.read_text(encoding="utf-8")).get("warnings", [])]
    except (OSError, ValueError, AttributeError):
        return []
