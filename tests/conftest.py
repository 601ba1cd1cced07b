"""Loaded before any test module, hence before torch: see the package's own comment on waiting threads."""

import sys
from collections.abc import Iterator
from itertools import chain, groupby, zip_longest
from pathlib import Path

import pytest

import scenewright_stages  # noqa: F401 - sets the OpenMP wait policy

# Helpers that tests of several folders share.
sys.path.insert(0, str(Path(__file__).parent / "support"))

from last_use import count_needs, over

_CLUSTER = Path(__file__).parent / "cluster"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """What tests share ends with the last one that needs it."""
    try:
        yield
    finally:
        over(item)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files that mostly wait, for a cluster, take turns with files that mostly compute, so that the cores have work.

    After what is not to run has been left out.
    """
    files = [list(group) for _, group in groupby(items, key=lambda item: item.path)]
    waiting = [file for file in files if file[0].path.is_relative_to(_CLUSTER)]
    computing = [file for file in files if not file[0].path.is_relative_to(_CLUSTER)]
    turns = chain.from_iterable(zip_longest(waiting, computing, fillvalue=[]))
    items[:] = chain.from_iterable(turns)
    count_needs(config, items)
