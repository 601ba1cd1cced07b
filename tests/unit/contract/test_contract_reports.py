"""Reports fit a termination message, whatever is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenewright_stages.contract.reports import MAXIMUM_REPORT_BYTES, Failure, Report, StageCounts, cut

TEXT = st.text(max_size=2000)


def test_twenty_failures_of_four_byte_characters_fit_and_are_all_there() -> None:
    wide = "\U0001f4a5" * 500
    failures = [Failure(sample=f"s{i:03d}", stage="double", reason="Broken", message=wide) for i in range(20)]
    plain = Report(step="publish", run="r1", failures=failures)
    content = plain.to_bytes()
    assert len(content) <= MAXIMUM_REPORT_BYTES < len(plain.model_dump_json().encode())
    assert [failure.sample for failure in Report.from_bytes(content).failures] == [f"s{i:03d}" for i in range(20)]


def test_counts_survive_when_everything_else_has_to_go() -> None:
    stages = {f"stage-{i}": StageCounts(total=1000, done=999, failed=1) for i in range(12)}
    failures = [Failure(sample="é" * 200, stage="s" * 60, reason="R" * 60, message="m" * 999)] * 20
    report = Report(
        step="publish", run="r1", stages=stages, failures=failures, warnings=["w" * 900] * 30, message="\n" * 5000
    )
    assert Report.from_bytes(report.to_bytes()).stages == stages


@given(st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT), max_size=25), st.lists(TEXT, max_size=12), TEXT)
def test_any_report_fits_and_parses(rows: list[tuple[str, str, str, str]], warnings: list[str], message: str) -> None:
    failures = [Failure(sample=a, stage=b, reason=c, message=d) for a, b, c, d in rows]
    report = Report(step="x", run="r", failures=failures, warnings=warnings, message=message, outputs={"v": message})
    content = report.to_bytes()
    assert len(content) <= MAXIMUM_REPORT_BYTES
    assert Report.from_bytes(content).step == "x"


@given(TEXT, st.integers(min_value=12, max_value=300))
def test_cut_text_is_never_longer_than_allowed(text: str, limit: int) -> None:
    short = cut(text, limit)
    assert len(short.encode()) <= limit
    assert short.endswith("…") or len(short) == len(text)


@pytest.mark.parametrize(("number", "length"), [(10, 20), (11, 20), (30, 20), (10, 900), (30, 900), (200, 3)])
def test_warnings_that_do_not_fit_are_counted(number: int, length: int) -> None:
    told = [f"{index:03d} {'w' * length}" for index in range(number)]
    kept = Report.from_bytes(Report(step="publish", warnings=told).to_bytes()).warnings
    whole = [text for text in kept if text[:3].isdecimal() and text[3] == " " and text[4] == "w"]
    left = [int(text.split()[0]) for text in kept if text.endswith("summary.json")]
    assert len(kept) <= 10 and len(whole) + sum(left) == number
