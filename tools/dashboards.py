"""Generates the chart's Grafana dashboards from the short declarations in charts/dashboards/*.yaml.

A declaration has rows of panels, and a panel has queries by legend; positions and boilerplate are computed.
``python tools/dashboards.py`` writes charts/scenewright/files/dashboards/*.json; ``--check`` only compares them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

CHARTS = Path(__file__).parents[1] / "charts"
SOURCES = CHARTS / "dashboards"
FOLDER = CHARTS / "scenewright" / "files" / "dashboards"
COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
UNNAMED = "value"
"""Legend of a panel's only series."""


class _Declaration(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Panel(_Declaration):
    """One panel.

    Attributes:
        title, description: what it shows, and how to read it.
        queries: PromQL expressions by legend.
        unit: Grafana's unit id.
        width, height: in Grafana's grid of 24 columns.
        stacked: whether to stack the series.
        limit: the panel turns red from this value on; None for never.
        maximum: upper end of the axis.
    """

    title: str
    description: str
    queries: Annotated[dict[str, str], Field(min_length=1, max_length=6)]
    kind: Literal["timeseries", "stat", "bargauge"] = "timeseries"
    unit: str = "short"
    width: Annotated[int, Field(ge=2, le=COLUMNS)] = 8
    height: int = 8
    stacked: bool = False
    limit: float | None = None
    maximum: float | None = None


class Variable(_Declaration):
    """A drop-down list with the values of the label `name` in `metric`."""

    name: str
    metric: str
    many: bool = True


class Row(_Declaration):
    """Panels under a heading."""

    title: str
    panels: list[Panel]


class Dashboard(_Declaration):
    """A dashboard; ``since`` is the start of its time range."""

    uid: str
    title: str
    description: str
    since: str
    variables: list[Variable]
    rows: list[Row]


def declared() -> dict[str, Dashboard]:
    """All dashboards by file name."""
    paths = sorted(SOURCES.glob("*.yaml"))
    return {path.stem: Dashboard.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in paths}


def grafana(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["scenewright"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": dashboard.since, "to": "now"},
        "templating": {"list": [_datasource(), *(_variable(each) for each in dashboard.variables)]},
        "links": [{"type": "dashboards", "tags": ["scenewright"], "title": "Scenewright", "asDropdown": True}],
        "panels": _placed(dashboard.rows),
    }


def _datasource() -> dict[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}


def _variable(variable: Variable) -> dict[str, Any]:
    query = f"label_values({variable.metric}, {variable.name})"
    many = {"includeAll": True, "multi": True, "allValue": ".*"} if variable.many else {}
    return {
        "name": variable.name,
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": variable.name},
        "refresh": 2,
        "sort": 1,
        **many,
    }


def _placed(rows: list[Row]) -> list[dict[str, Any]]:
    """Panels from left to right, each row below the one before it."""
    placed: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        placed.append({"id": len(placed) + 1, "type": "row", "title": row.title, "gridPos": place, "collapsed": False})
        top, left, tallest = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            place = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            placed.append(_panel(panel, len(placed) + 1, place))
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
    return placed


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    queries = enumerate(panel.queries.items())
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": place,
        "targets": [_target(legend, expression, index, panel.kind) for index, (legend, expression) in queries],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel.kind),
    }


def _target(legend: str, expression: str, index: int, kind: str) -> dict[str, Any]:
    over_time = kind == "timeseries"
    return {
        "refId": chr(ord("A") + index),
        "datasource": DATASOURCE,
        "expr": " ".join(expression.split()),
        "legendFormat": "__auto" if legend == UNNAMED else legend,
        "instant": not over_time,
        "range": over_time,
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": "red", "value": panel.limit})
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "fillOpacity": 30 if panel.stacked else 8,
            "showPoints": "never",
            "thresholdsStyle": {"mode": "line" if panel.limit is not None else "off"},
        }
    return defaults


def _options(kind: str) -> dict[str, Any]:
    if kind == "timeseries":
        legend = {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]}
        return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    if kind == "stat":
        return {"colorMode": "value", "graphMode": "none", "reduceOptions": {"calcs": ["lastNotNull"]}}
    return {"displayMode": "gradient", "orientation": "horizontal", "reduceOptions": {"calcs": ["lastNotNull"]}}


def files() -> dict[Path, str]:
    """Path and text of every dashboard."""
    return {FOLDER / f"{name}.json": _text(grafana(each)) for name, each in declared().items()}


def _text(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Writes or checks the files."""
    stale = [path for path, text in files().items() if not path.is_file() or path.read_text() != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            sys.stderr.write(f"error: {path}: differs; run `python tools/dashboards.py`\n")
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
