"""The chart with images from this checkout runs on the one-node cluster, and Prometheus sees it."""

from __future__ import annotations

import json
import time
import urllib.request
from typing import Any

import pytest

from cluster import chart
from cluster.whole_cluster import WholeCluster

pytestmark = pytest.mark.slow


def ask(cluster: WholeCluster, path: str) -> Any:
    return json.load(urllib.request.urlopen(f"{cluster.prometheus.url}/api/v1/{path}", timeout=10))["data"]


def operator_pods(cluster: WholeCluster) -> list[dict[str, Any]]:
    pods = cluster.control_plane.api.get(f"/api/v1/namespaces/{chart.NAMESPACE}/pods")["items"]
    return [pod for pod in pods if pod["status"]["phase"] == "Running"]


def test_prometheus_scrapes_the_operator_and_evaluates_its_alerts(cluster_with_operator: WholeCluster) -> None:
    deadline = time.monotonic() + 60
    # Series of what other tests had scraped last for minutes.
    scraped = f"query?query=up{{service=%22{chart.RELEASE}%22}}==1"
    while not ask(cluster_with_operator, scraped)["result"]:
        assert time.monotonic() < deadline, ask(cluster_with_operator, "query?query=up")
        time.sleep(1)
    rules = [rule for group in ask(cluster_with_operator, "rules")["groups"] for rule in group["rules"]]
    assert rules
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}, rules


def test_the_operator_is_replaced_only_when_its_image_changed(cluster_with_operator: WholeCluster) -> None:
    (before,) = operator_pods(cluster_with_operator)
    cluster_with_operator.install_chart()
    (after,) = operator_pods(cluster_with_operator)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] == 0
