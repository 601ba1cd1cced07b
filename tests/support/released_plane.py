"""A control plane with the kinds exactly as they are released; the shared one has a kind changed for other tests."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from availability import unavailable
from cluster_sharing import until_no_cluster_is_needed

from cluster import ControlPlane, Unavailable
from cluster.api import ApiError
from cluster.binaries import CONTROL_PLANE, binaries
from scenewright.api.names import PLURALS

CRDS = Path(__file__).parents[2] / "crds"
T = TypeVar("T")


@pytest.fixture(scope="session")
def released_plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """The control plane with our kinds, served; it ends with the last test of the cluster."""
    try:
        binaries(*CONTROL_PLANE)
    except Unavailable as problem:
        unavailable("control plane", problem)
    with until_no_cluster_is_needed(request.config) as stack:
        cluster = stack.enter_context(ControlPlane.start(tmp_path_factory.mktemp("released-plane")))
        kubectl(cluster, "apply", "--server-side", "-f", str(CRDS))
        for plural in PLURALS.values():
            # Kinds are served some time after they are established.
            path = f"/apis/scenewright.io/v1alpha1/{plural}"
            eventually(lambda path=path: answered(cluster, path))
        yield cluster


def kubectl(cluster: ControlPlane, *arguments: str, text: str = "") -> str:
    """What kubectl prints as the administrator; fails with its error."""
    command = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
    return done.stdout


def answered(cluster: ControlPlane, path: str) -> bool:
    """Whether the API server serves this path."""
    try:
        cluster.api.get(path)
    except ApiError:
        return False
    return True


def eventually(check: Callable[[], T], seconds: float = 60.0) -> T:
    """The first true answer of `check`; an error when there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := check():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s")
