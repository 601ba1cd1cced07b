"""Ends what many tests share with the last test that needs it.

A fixture of the session lives until its process ends, and a control plane costs a tenth of a core even when it idles.
All tests of a control plane run in one process (`tests/conftest.py`), so that this process can count them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

SHARED = ("control_plane", "released_plane")
"""Fixtures that end early."""
_NEEDED = pytest.StashKey[Counter[str]]()
_OPEN = pytest.StashKey[dict[str, ExitStack]]()


def count_needs(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Notes how many tests need each shared fixture."""
    config.stash[_NEEDED] = Counter(name for item in items for name in _needs(item))
    config.stash[_OPEN] = {}


@contextmanager
def until_last_use(request: pytest.FixtureRequest) -> Iterator[ExitStack]:
    """A stack that is closed with the last test that needs the fixture, at the latest when the process ends."""
    with ExitStack() as stack:
        request.config.stash[_OPEN][str(request.fixturename)] = stack
        yield stack


def over(item: pytest.Item) -> None:
    """Notes that one test less needs its fixtures, and closes those that no test needs any more."""
    needed = item.config.stash[_NEEDED]
    needed.subtract(_needs(item))
    for name, stack in item.config.stash[_OPEN].items():
        if not needed[name]:
            stack.close()


def _needs(item: pytest.Item) -> list[str]:
    return [name for name in SHARED if name in getattr(item, "fixturenames", ())]
