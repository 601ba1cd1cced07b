"""What a run's samples came to, as the exit code of the command tells it."""

from __future__ import annotations

import json
from pathlib import Path

from scenewright.execution.events import Outcome
from scenewright.execution.outcomes import given_up, of_publication
from scenewright.execution.published import completed
from scenewright.planning.plan import Plan, make_plan
from scenewright.planning.protocol import ends_text
from scenewright_stages.contract.reports import Failure, Report, StageCounts, UnitCounts, cut

NOBODY = "3 of 120 samples rejected: no-subject"


def relight_plan() -> Plan:
    return make_plan(
        {
            "apiVersion": "scenewright.io/v1alpha1",
            "kind": "DatasetJob",
            "metadata": {"name": "faces"},
            "spec": {"input": {"uri": "file:///in"}, "output": {"uri": "file:///out"}, "relight": {}},
        }
    )


def ending(segment: StageCounts, samples: int, rejected: int = 0, reason: str = "") -> tuple[int, str]:
    """Exit code and reason of a run whose first stage came to these counts."""
    failures = [Failure(sample="s", stage="segment", reason=reason)] if reason else []
    counts = {"segment": segment}
    report = Report(step="publish", samples=samples, rejected=rejected, stages=counts, failures=failures)
    report = report.model_copy(update={"warnings": [NOBODY]})
    outcome = of_publication(relight_plan(), report)
    assert outcome.report is not None and outcome.report.warnings == [NOBODY]
    return outcome.exit_code, outcome.reason


def test_samples_that_a_rule_left_out_are_no_failures() -> None:
    assert ending(StageCounts(total=120, done=117, skipped=3), 117) == (0, "Complete")


def test_failures_beside_them_are_and_so_are_files_that_could_not_be_taken() -> None:
    assert ending(StageCounts(total=120, done=116, skipped=3, failed=1), 117, 0, "Crashed") == (1, "SamplesFailed")
    assert ending(StageCounts(total=120, done=117, skipped=3), 117, 1, "EmptyFile") == (1, "SamplesFailed")


def test_nothing_left_is_no_success_and_not_that_nothing_could_be_read() -> None:
    assert ending(StageCounts(total=120, skipped=120), 0) == (1, "NothingLeft")
    assert ending(StageCounts(total=120, skipped=118, failed=2), 2, 0, "ImageTruncated") == (1, "SamplesFailed")
    assert ending(StageCounts(total=2, failed=2), 2, 0, "ImageTruncated") == (10, "NothingReadable")


def test_a_sole_empty_file_ends_as_a_truncated_one_does() -> None:
    assert ending(StageCounts(), 0, 1, "EmptyFile") == (10, "NothingReadable")
    assert ending(StageCounts(total=1, failed=1), 1, 1, "EmptyFile") == (10, "NothingReadable")
    assert ending(StageCounts(total=1, done=1), 1, 1, "EmptyFile") == (1, "SamplesFailed")


def test_samples_that_wait_for_a_choice_count_once_though_later_stages_wait_for_them() -> None:
    stages = {
        "segment": StageCounts(total=3, done=3),
        "albedo": StageCounts(total=3, done=1, awaiting=2),
        "degrade": StageCounts(total=3, done=1, awaiting=2),
    }
    outcome = of_publication(relight_plan(), Report(step="publish", samples=3, stages=stages))
    assert (outcome.exit_code, outcome.reason) == (3, "AwaitingSelection")
    assert outcome.message.startswith("2 samples wait for a choice")


def test_the_summary_completes_the_report_and_no_warning_of_either_is_lost(tmp_path: Path) -> None:
    cause = {"sample": "b", "stage": "segment", "reason": "ImageTruncated", "message": "cut " * 100}
    (tmp_path / "summary.json").write_text(json.dumps({"failures": [cause], "warnings": [NOBODY, "long " * 100]}))
    told = [NOBODY, cut("long " * 100, 200), "report.html could not be made"]
    report = completed(Report(step="publish", warnings=told), tmp_path.as_uri())
    assert [failure.message for failure in report.failures] == [cause["message"]]
    assert report.warnings == [NOBODY, "long " * 100, "report.html could not be made"]


def test_a_step_that_was_given_up_is_never_a_success() -> None:
    right = Outcome(0, report=Report(step="publish", samples=1))
    assert given_up(right, {}) == right
    lost = given_up(right, {"albedo": "killed by SIGKILL"})
    assert (lost.exit_code, lost.reason, lost.message) == (1, "StepLost", "albedo was given up: killed by SIGKILL")


def test_numbers_of_an_end_are_of_one_level() -> None:
    units = UnitCounts(total=12, done=8, failed=4)
    stages = {"segment": StageCounts(total=3, done=2, failed=1), "degrade": StageCounts(total=12, done=8, skipped=4)}
    outcome = of_publication(relight_plan(), Report(step="publish", samples=12, units=units, stages=stages))
    assert (outcome.exit_code, outcome.message) == (1, "4 of 12 samples failed")
    assert ends_text(units) == "8 samples done, 4 failed"
