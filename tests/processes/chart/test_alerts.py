"""Alerts: promtool accepts them, each fires in its case and none in a healthy one, and each is explained."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from chart_rendering import CHART, promtool
from metric_names import alerts

RULES = CHART / "files/alerts/scenewright.yaml"
CASES = Path(__file__).parent / "alerts_test.yaml"
OPERATIONS = CHART.parents[1] / "docs" / "operations.md"


def run(*arguments: str, folder: Path = CASES.parent) -> subprocess.CompletedProcess[str]:
    return subprocess.run([promtool(), *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_promtool_accepts_the_rules() -> None:
    done = run("check", "rules", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(alerts())} rules found" in done.stdout


@pytest.mark.slow
def test_every_alert_fires_in_its_case_and_not_in_a_healthy_one() -> None:
    done = run("test", "rules", CASES.name)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_cases_would_notice_a_rule_that_never_fires(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES.read_text().replace("absent(scenewright_leader == 1)", "scenewright_leader == 2"))
    cases = tmp_path / "cases.yaml"
    cases.write_text(
        CASES.read_text().replace("../../../charts/scenewright/files/alerts/scenewright.yaml", "rules.yaml")
    )
    done = run("test", "rules", cases.name, folder=tmp_path)
    assert done.returncode != 0
    assert "ScenewrightOperatorDown" in done.stdout + done.stderr


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    cases = [case for test in yaml.safe_load(CASES.read_text())["tests"] for case in test["alert_rule_test"]]
    fires = {case["alertname"] for case in cases if case.get("exp_alerts")}
    stays_silent = {case["alertname"] for case in cases if not case.get("exp_alerts")}
    assert fires == stays_silent == set(alerts())


@pytest.mark.parametrize("name", sorted(alerts()))
def test_every_alert_is_explained_where_it_points(name: str) -> None:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rule = next(rule for group in groups for rule in group["rules"] if rule["alert"] == name)
    assert rule["annotations"]["runbook"] == f"docs/operations.md#{name.lower()}"
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert re.search(rf"^#+ {name}$", OPERATIONS.read_text(), flags=re.MULTILINE), f"docs/operations.md lacks {name}"
