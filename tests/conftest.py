"""Loaded before any test module, hence before torch: see the package's own comment on waiting threads."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import scenewright_stages  # noqa: F401 - sets the OpenMP wait policy

# Helpers that tests of several folders share.
sys.path.insert(0, str(Path(__file__).parent / "support"))

from cluster_sharing import FilesAndTwoClusters, end_of_test


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """What tests of the cluster share ends with the last of them."""
    try:
        yield
    finally:
        end_of_test(item, nextitem)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesAndTwoClusters | None:
    """`--dist loadfile` with the cluster in two processes."""
    return FilesAndTwoClusters(config, log) if config.getoption("dist") == "loadfile" else None
