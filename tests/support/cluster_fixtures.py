"""Fixtures with a real control plane and simulated nodes, shared by all tests of a session."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from availability import unavailable
from cluster.binaries import CONTROL_PLANE, binaries

from cluster import ControlPlane, Unavailable


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of this test session (of each worker of pytest-xdist).

    Where its binaries cannot be built the test is skipped, but in CI it fails.
    """
    try:
        binaries(*CONTROL_PLANE)
    except Unavailable as problem:
        unavailable("control plane", problem)
    with ControlPlane.start(tmp_path_factory.mktemp("control-plane")) as cluster:
        yield cluster


@pytest.fixture
def namespace(control_plane: ControlPlane) -> Iterator[str]:
    """A fresh namespace, deleted (not waited for) after the test."""
    name = control_plane.create_namespace(f"test-{uuid.uuid4().hex[:8]}")
    yield name
    control_plane.api.delete(f"/api/v1/namespaces/{name}")
