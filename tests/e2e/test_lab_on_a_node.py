"""A lab as the installation page sets it up: defaults in the chart, three-line objects, and dashboards with answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from metric_names import panels, plain
from trials import Trial, upgraded_chart

from cluster import chart, trial
from cluster.storage import StorageServer
from cluster.whole_cluster import WholeCluster
from scenewright.planning.plan import make_plan
from scenewright_stages.contract import layout

pytestmark = pytest.mark.slow

EXAMPLES = chart.ROOT / "examples"
LAB = EXAMPLES / "cluster" / "values.yaml"
NAMESPACE = "lab"
OBJECTS = {"scenejob": ("scenejob.yaml", "china"), "datasetjob": ("datasetjob-relight.yaml", "portraits")}
"""File and name of an example by its kind."""
QUIET = re.compile("Failed|Waiting|do not start|GPU seconds|Numbers of its stages")
"""Panels that show nothing where nothing failed, waited, was trained or had a GPU."""
SMALL = {"resources": {"requests": {"cpu": "1500m", "memory": "2Gi"}}}
"""Stages ask for two processors, which are more than the operator leaves of this node's."""


def example(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / "cluster" / OBJECTS[kind][0]).read_text())
    return found


def stages_of(kind: str) -> list[str]:
    return [stage.name for stage in make_plan(example(kind)).chain]


def upload(storage: StorageServer, uri: str) -> None:
    """A file or folder of the examples' inputs into the bucket of photographs, as the page says."""
    name = uri.removeprefix(f"s3://{trial.PHOTOS}/")
    source = EXAMPLES / "inputs" / name
    for path in [source] if source.is_file() else sorted(source.rglob("*")):
        if path.is_file():
            storage.client().upload_file(str(path), trial.PHOTOS, str(path.relative_to(EXAMPLES / "inputs")))


def clear(storage: StorageServer, uri: str) -> None:
    """Empties an output that an object of another test has used."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    pages = storage.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    for key in [entry["Key"] for page in pages for entry in page.get("Contents", [])]:
        storage.client().delete_object(Bucket=bucket, Key=key)


@dataclass(frozen=True)
class Lab:
    """Its objects by kind, and since when they are there, seconds since the epoch."""

    trials: dict[str, Trial]
    began: float


@pytest.fixture(scope="module")
def lab(cluster_with_operator: WholeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The examples have been applied as they are, and are Complete."""
    target, storage = cluster_with_operator.target, cluster_with_operator.storage
    small = tmp_path_factory.mktemp("lab") / "small-node.yaml"
    overrides = {stage: SMALL for kind in OBJECTS for stage in stages_of(kind)}
    small.write_text(yaml.safe_dump({"defaults": {"execution": {"stageOverrides": overrides}}}))
    with upgraded_chart(target, "--values", str(LAB), "--values", str(small)):
        trial.begin(target, storage, NAMESPACE)
        found = {kind: Trial(target, storage, NAMESPACE, kind) for kind in OBJECTS}
        began = time.time()
        for kind, (file, _) in OBJECTS.items():
            upload(storage, example(kind)["spec"]["input"]["uri"])
            clear(storage, example(kind)["spec"]["output"]["uri"])
            found[kind].kubectl("apply", "--server-side", "-f", str(EXAMPLES / "cluster" / file))
        for kind, (_, name) in OBJECTS.items():
            found[kind].wait(name)
        yield Lab(found, began)
        target.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s")


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_object_of_three_lines_has_results(lab: Lab, kind: str) -> None:
    name = OBJECTS[kind][1]
    status = lab.trials[kind].status(name)
    assert status["phase"] == "Complete"
    assert json.loads(status["effective"]["defaults"]["storage"]) == {"secretName": trial.SECRET}
    # Of the lab's overrides for all pipelines an object takes those of its own stages.
    requests = {
        pod["metadata"]["labels"]["scenewright.io/step"]: pod["spec"]["containers"][0]["resources"]["requests"]["cpu"]
        for pod in lab.trials[kind].pods(name)
    }
    assert {requests[stage] for stage in stages_of(kind)} == {"1500m"}
    files = lab.trials[kind].stored(name)
    published = json.loads(files[layout.PUBLISHED])["files"]
    assert len(published) > 5 and set(published) <= set(files)
    assert b"<html" in files["report.html"][:1000]


def test_the_command_line_reports_it(lab: Lab) -> None:
    command = [sys.executable, "-m", "scenewright.cli.main", "status", "scenejob/china", "--namespace", NAMESPACE]
    environment = {**os.environ, "KUBECONFIG": str(lab.trials["scenejob"].target.kubeconfig)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Complete" in done.stdout and trial.SECRET in done.stdout, done.stdout


def answers(cluster: WholeCluster, expression: str, began: float) -> int:
    """How many series Prometheus has had since then."""
    if variable := re.fullmatch(r"label_values\((.+), *(\w+)\)", expression):
        expression = f"group by ({variable[2]}) ({variable[1]})"
    parameters = {"query": plain(expression), "start": f"{began}", "end": f"{time.time()}", "step": "5"}
    query = urllib.parse.urlencode(parameters)
    with urllib.request.urlopen(f"{cluster.prometheus.url}/api/v1/query_range?{query}", timeout=10) as answer:
        found = json.load(answer)
    assert found["status"] == "success", found
    return len(found["data"]["result"])


def test_dashboards_queries_are_answered(cluster_with_operator: WholeCluster, lab: Lab) -> None:
    counts = [(place, answers(cluster_with_operator, expression, lab.began)) for place, expression in panels()]
    shown = {place for place, count in counts if count}
    empty = {place for place, _ in counts} - shown
    assert not [place for place in sorted(empty) if not QUIET.search(place)]
    assert len(shown) > len(empty)
