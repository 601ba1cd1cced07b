"""Fixtures with real clusters, each shared by all tests of a session."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from availability import in_ci, unavailable
from cluster_sharing import until_no_cluster_is_needed

from cluster import ControlPlane, Unavailable, preflight
from cluster.binaries import CONTROL_PLANE, binaries
from cluster.whole_cluster import FOLDER, WholeCluster, running

IMAGE_SECONDS = 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a real node is left to `make test-node`."""
    for item in items:
        if "whole_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.node)
        if "cluster_with_operator" in getattr(item, "fixturenames", ()):
            # The first of them builds the images.
            item.add_marker(pytest.mark.timeout(IMAGE_SECONDS))


@pytest.fixture(scope="session")
def control_plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with simulated nodes; it ends with the last test of the cluster.

    Where its binaries cannot be built the test is skipped, but in CI it fails.
    """
    try:
        binaries(*CONTROL_PLANE)
    except Unavailable as problem:
        unavailable("control plane", problem)
    with until_no_cluster_is_needed(request.config) as stack:
        yield stack.enter_context(ControlPlane.start(tmp_path_factory.mktemp("control-plane")))


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A fresh namespace, deleted (not waited for) after the test."""
    name = control_plane.create_namespace(f"test-{uuid.uuid4().hex[:8]}")
    yield name
    control_plane.api.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="session")
def whole_cluster() -> Iterator[WholeCluster]:
    """A cluster with a real node, S3 and Prometheus.

    Where this machine cannot run one the test is skipped with what is missing, but in CI what can be installed is
    installed and the rest fails.
    """
    try:
        if not in_ci():
            preflight.require(FOLDER)
        started = running(FOLDER)
        cluster = started.__enter__()
    except Unavailable as problem:
        unavailable("whole cluster", problem)
    try:
        yield cluster
    finally:
        started.__exit__(None, None, None)


@pytest.fixture(scope="session")
def cluster_with_operator(whole_cluster: WholeCluster) -> WholeCluster:
    """The same with the operator: images built from this checkout, the chart installed, Prometheus scraping it."""
    try:
        whole_cluster.install_chart()
    except Unavailable as problem:
        unavailable("images", problem)
    return whole_cluster
