"""Reads publications from local outputs: full failures and warnings, retry tokens and hashes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from scenewright.api.raw import Json
from scenewright.planning.inputs import ObjectReference, ResolvedInput
from scenewright.planning.plan import Plan
from scenewright_stages.contract import layout
from scenewright_stages.contract.reports import LEFT_OUT, MAXIMUM_WARNING_BYTES, Failure, Report, cut
from scenewright_stages.contract.results import merged_warnings


def completed(report: Report, output_uri: str) -> Report:
    """The publish report with its failures and warnings in full; unchanged if the output is not local.

    Reports are cut to fit into a Pod's termination message. The local summary is the same account uncut.
    """
    folder = local_path(output_uri)
    summary = read_json(folder / layout.SUMMARY) if folder is not None else {}
    if not summary:
        return report
    failures = [Failure.model_validate(each) for each in summary.get("failures", [])]
    whole = [str(warning) for warning in summary.get("warnings", [])]
    known = {cut(warning, MAXIMUM_WARNING_BYTES) for warning in whole}
    others = [
        warning
        for warning in report.warnings
        if cut(warning, MAXIMUM_WARNING_BYTES) not in known and not LEFT_OUT.fullmatch(warning)
    ]
    changes = {"failures": failures or report.failures, "warnings": merged_warnings(whole, others)}
    return report.model_copy(update=changes)


def last_retry_token(output_uri: str) -> str | None:
    """``execution.retryToken`` of the last run into a local output; None if there was none."""
    folder = local_path(output_uri)
    if folder is None:
        return None
    try:
        return str(read_json(folder / layout.JOB)["spec"]["execution"]["retryToken"])
    except (KeyError, TypeError):
        return None


def resolved_from(plan: Plan, outputs: Mapping[ObjectReference, str]) -> dict[str, ResolvedInput] | ObjectReference:
    """Resolves all inputs of a plan from local outputs; returns the first object that has not published, if any."""
    found: dict[str, ResolvedInput] = {}
    for wanted in plan.inputs:
        if not wanted.kind:
            continue
        name = ObjectReference(wanted.kind, wanted.object)
        uri = outputs.get(name, "")
        folder = local_path(uri)
        try:
            published = read_json(folder / layout.PUBLISHED) if folder is not None else {}
            found[wanted.name] = ResolvedInput.of(wanted, uri, published["hash"], published["chosen"])
        except KeyError:
            return name
    return found


def local_path(uri: str) -> Path | None:
    """The path of a ``file://`` URI; None for any other URI."""
    return Path(unquote(uri.removeprefix("file://"))) if uri.startswith("file://") else None


def read_json(path: Path) -> Json:
    """The object in a JSON file; empty if missing or unreadable."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
