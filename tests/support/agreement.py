"""Whether everything that tells how a run ended tells the same numbers: one check for all end-to-end tests."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scenewright_stages.contract import layout
from scenewright_stages.contract.results import duration_text
from scenewright_stages.contract.samples import WHOLE_ID
from scenewright_stages.store import open_store

WORDS = ("done", "failed", "rejected", "waiting", "notSelected", "missing")


def assert_numbers_agree(
    output: Path | str, job: Mapping[str, Any] | None = None, terminal: str = "", has_page: bool = True
) -> None:
    """Asserts that summary, manifest, publication, pages and the terminal or its JSON have the same numbers.

    Args:
        output: folder of the publication, or its URI in any store.
        job: the job in the JSON of ``scenewright run -o json``, if there is one.
        terminal: what ``scenewright run`` printed, if it was for people.
        has_page: whether the pipeline has a reporter.
    """
    store = open_store(str(output))
    summary = json.loads(store.get_bytes(layout.SUMMARY))
    units = {word: summary["samples"].get(word, 0) for word in WORDS}
    assert sum(units.values()) == summary["samples"]["total"]
    lines = [json.loads(line) for line in store.get_bytes(layout.MANIFEST).decode().splitlines()]
    ids = [line["id"] for line in lines]
    # What stands for the whole job has a line and is no unit.
    assert units["done"] in (len(ids), len(ids) - ids.count(WHOLE_ID)), (ids, summary["samples"])
    there = {each.key for each in store.list()}
    present = there | {key[:end] for key in there for end in range(len(key)) if key[end] == "/"}
    for line in lines:
        for file in line["files"].values():
            path = file["path"].rstrip("/")
            assert path in present or "{number" in path, f"the manifest names {path}, which nobody made"
    rows = csv.DictReader(io.StringIO(store.get_bytes(layout.DROPPED).decode(), newline=""))
    reasons = [row["reason"] for row in rows]
    assert all(number <= reasons.count(reason) for reason, number in summary["reasons"].items())
    published = json.loads(store.get_bytes(layout.PUBLISHED))["samples"]
    assert published == {"total": summary["samples"]["total"], **_counted(units)}
    if layout.REPORT not in there:
        assert not has_page or any(layout.REPORT in warning for warning in summary["warnings"])
    else:
        assert has_page
        _assert_page(store.get_bytes(layout.REPORT).decode(), units, summary)
    if job is not None:
        assert {word: job["units"].get(word, 0) for word in WORDS} == units
        assert job["times"]["total"]["wallSeconds"] == summary["times"]["total"]["wallSeconds"]
        assert job["warnings"] == summary["warnings"]
    if " done" in terminal:
        assert f"{units['done']} sample" in terminal
    if wall := re.search(r"^time: (.+?) \(processing", terminal, re.MULTILINE):
        assert wall[1] == duration_text(summary["times"]["total"]["wallSeconds"])


def assert_status_agrees(status: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Asserts that an object's status counts the units of the summary and starts its warnings as that does."""
    samples = {word: number for word, number in summary["samples"].items() if number}
    assert {word: number for word, number in status["samples"].items() if number} == samples
    shown = [
        warning.removesuffix("…") for warning in status.get("warnings", []) if not warning.endswith(layout.SUMMARY)
    ]
    assert all(map(str.startswith, summary["warnings"], shown)) and len(shown) >= min(len(summary["warnings"]), 1)


def _assert_page(text: str, units: Mapping[str, int], summary: Mapping[str, Any]) -> None:
    """A page that counts samples counts these; the page of a single scene has its time."""
    pills = re.findall(r'<li class="pill [a-z ]+">([\d,]+) ([a-z ]+)</li>', text)
    if pills:
        shown = {html.unescape(word): int(number.replace(",", "")) for number, word in pills}
        assert {word: number for word, number in shown.items() if number} == _counted(units)
    if "<dt>Time</dt>" in text:
        assert f"<dt>Time</dt><dd>{duration_text(summary['times']['total']['wallSeconds'])}</dd>" in text


def _counted(units: Mapping[str, int]) -> dict[str, int]:
    return {word.replace("notSelected", "not selected"): number for word, number in units.items() if number}
