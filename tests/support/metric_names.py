"""Names of metrics: in PromQL expressions of the chart, and in a scrape."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml
from chart_rendering import CHART

_NAME = re.compile(r"\b((?:scenewright|process|python)_[a-z0-9_]+)\b")
_OF_HISTOGRAMS = re.compile(r"_(bucket|sum|count)$")


def alerts() -> dict[str, str]:
    """Expression of every alert by its name."""
    groups = yaml.safe_load((CHART / "files/alerts/scenewright.yaml").read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def dashboards() -> dict[str, dict[str, Any]]:
    """Every dashboard by its file's name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((CHART / "files/dashboards").glob("*.json"))}


def panels() -> Iterator[tuple[str, str]]:
    """Where each query of a dashboard is, and its expression."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                yield f"{name}: {panel['title']}", target["expr"]
        for variable in dashboard["templating"]["list"]:
            if variable["type"] == "query":
                yield f"{name}: ${variable['name']}", variable["query"]["query"]


def plain(expression: str, **values: str) -> str:
    """A dashboard's expression with its variables replaced, by default by what fits everything."""
    for variable in ("pipeline", "stage", "kind", "namespace", "name"):
        if variable not in values:
            expression = expression.replace(f'="${variable}"', '=~".*"')
        expression = expression.replace(f"${variable}", values.get(variable, ".*"))
    return expression.replace("$__rate_interval", "5m")


def used() -> dict[str, str]:
    """Every metric that an alert or a dashboard needs, and one place that needs it."""
    places = [*alerts().items(), *panels()]
    return {name: place for place, expression in places for name in _NAME.findall(expression)}


def whole_scrape() -> str:
    """A scrape of an operator that has no work: every name that it will ever have is declared in it."""
    from prometheus_client import CollectorRegistry, generate_latest

    from scenewright.reconcile.cache.store import ObjectStore, Store
    from scenewright.reconcile.status.gauges import ObjectGauges
    from scenewright.telemetry.metrics import REGISTRY
    from scenewright.telemetry.progress.endpoint import PUSHES

    assert PUSHES, "is declared beside what it counts"
    gauges = CollectorRegistry()
    gauges.register(ObjectGauges(ObjectStore(), Store(), 0))
    return generate_latest(REGISTRY).decode() + generate_latest(gauges).decode()


def of_scrape(text: str) -> set[str]:
    """The names of all series of a scrape in the text format."""
    return {re.split(r"[{ ]", line)[0] for line in text.splitlines() if line and not line.startswith("#")}


def declared(text: str) -> set[str]:
    """What a scrape declares, with or without series: names as its series have or would have them."""
    found: set[str] = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)", text, flags=re.MULTILINE):
        found |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
    return found


def labels_used() -> set[tuple[str, str]]:
    """Every (metric, label) by which an expression selects."""
    found = set()
    for _, expression in [*alerts().items(), *panels()]:
        for name, selector in re.findall(r"\b(scenewright_[a-z0-9_]+)\{([^}]*)\}", expression):
            found |= {(_OF_HISTOGRAMS.sub("", name), label) for label in re.findall(r"(\w+)\s*(?:=|!)", selector)}
    return found
