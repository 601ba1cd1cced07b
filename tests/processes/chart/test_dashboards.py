"""Dashboards: written from their declarations, readable by Prometheus, and made of metrics that exist."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from chart_rendering import CHART, promtool
from metric_names import dashboards, declared, labels_used, panels, plain, used, whole_scrape

from scenewright.telemetry import metrics

ROOT = CHART.parents[1]
OF_THE_PROCESS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def test_the_files_are_those_of_the_declarations() -> None:
    command = [sys.executable, str(ROOT / "tools" / "dashboards.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["platform", "stages", "job"])
def test_panels_have_places_of_their_own_and_say_what_they_show(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboards()[name]["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["type"] == "row" or len(panel["description"]) > 15


def test_prometheus_can_parse_every_query(tmp_path: Path) -> None:
    expressions = [(place, plain(text)) for place, text in panels() if not text.startswith("label_values(")]
    rules = [{"record": f"panel:{number}", "expr": text} for number, (_, text) in enumerate(expressions)]
    assert check(tmp_path, rules).returncode == 0, check(tmp_path, rules).stderr
    rules[0]["expr"] += ")"
    assert check(tmp_path, rules).returncode != 0


def check(folder: Path, rules: list[dict[str, str]]) -> subprocess.CompletedProcess[str]:
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    return subprocess.run([promtool(), "check", "rules", str(file)], capture_output=True, text=True, check=False)


def existing() -> set[str]:
    return declared(whole_scrape()) | OF_THE_PROCESS


def test_every_metric_of_a_panel_or_an_alert_exists() -> None:
    missing = {name: place for name, place in used().items() if name not in existing()}
    assert not missing


def test_a_metric_that_does_not_exist_is_found() -> None:
    assert "scenewright_invented_total" not in existing()
    assert declared("# TYPE a histogram\n# TYPE b counter\n") == {"a_bucket", "a_sum", "a_count", "b"}


def test_every_label_by_which_a_query_selects_exists() -> None:
    names = {collector._name: set(collector._labelnames) for collector in metrics.REGISTRY._collector_to_names}
    known = {f"{name}{suffix}": labels for name, labels in names.items() for suffix in ("", "_total")}
    wrong = {(name, label) for name, label in labels_used() if name in known and label not in known[name]}
    assert not wrong
    assert known["scenewright_samples_total"] >= {"pipeline", "stage", "result"}
