"""Loaded before any test module, hence before torch: see the package's own comment on waiting threads."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import scenewright_stages  # noqa: F401 - sets the OpenMP wait policy

# Helpers that tests of several folders share.
sys.path.insert(0, str(Path(__file__).parent / "support"))

from last_use import count_needs, over
from one_process import FilesAndOneCluster


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """What tests share ends with the last one that needs it."""
    try:
        yield
    finally:
        over(item)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """After what is not to run has been left out."""
    count_needs(config, items)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesAndOneCluster | None:
    """`--dist loadfile` with the cluster in one process."""
    return FilesAndOneCluster(config, log) if config.getoption("dist") == "loadfile" else None
