"""docs/operations.md explains every condition, reason and metric that there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from metric_names import whole_scrape

from scenewright.api.status import Condition

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "operations.md").read_text()
TERMS = set(re.findall(r"`([A-Za-z_]+)`", PAGE))
EVENTS_ONLY = {"Started"}


def test_every_condition_is_explained() -> None:
    assert set(get_args(Condition.model_fields["type"].annotation)) <= TERMS


def test_every_reason_of_the_reconciler_is_explained() -> None:
    reasons = set(
        re.findall(
            r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+|Planned|Succeeded|Unschedulable|Indexing|Publishing)`",
            (DOCS / "reconciler.md").read_text(),
        )
    )
    assert len(reasons) > 40
    assert not reasons - TERMS - EVENTS_ONLY


def test_every_metric_is_explained_and_no_other() -> None:
    text = whole_scrape()
    existing = {
        name.removeprefix("scenewright_") for name in re.findall(r"^# TYPE (scenewright_\S+)", text, flags=re.MULTILINE)
    }
    table = PAGE[PAGE.index("| metric | labels |") :].partition("\n\n")[0]
    explained = {name for row in table.splitlines()[2:] for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])}
    assert explained == existing
