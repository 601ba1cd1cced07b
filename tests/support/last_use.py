"""Ends what many tests share with the last test of the whole run that needs it.

A fixture of the session lives until its process ends. A control plane costs a tenth of a core even when it idles, and
with several processes there are several of them. The processes of one run tell each other by files how many tests that
need a fixture are over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

SHARED = ("control_plane", "released_plane")
"""Fixtures that end early."""
_NEEDED = pytest.StashKey[Counter[str]]()
_OPEN = pytest.StashKey[dict[str, ExitStack]]()


def count_needs(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Notes how many tests of the run need each shared fixture; every process collects all tests."""
    config.stash[_NEEDED] = Counter(name for item in items for name in _needs(item))
    config.stash[_OPEN] = {}


@contextmanager
def until_last_use(request: pytest.FixtureRequest) -> Iterator[ExitStack]:
    """A stack that is closed with the last test that needs the fixture, at the latest when the process ends."""
    with ExitStack() as stack:
        request.config.stash[_OPEN][str(request.fixturename)] = stack
        yield stack


def over(item: pytest.Item) -> None:
    """Notes that one test less needs its fixtures, and closes those that no test of the run needs any more."""
    config = item.config
    if not config.stash[_NEEDED]:
        return
    folder = _folder_of_run(config)
    for name in _needs(item):
        with (folder / f"{name}.over").open("ab") as file:
            file.write(b".")
    for name, stack in config.stash[_OPEN].items():
        over = folder / f"{name}.over"
        if over.is_file() and over.stat().st_size >= config.stash[_NEEDED][name]:
            stack.close()


def _needs(item: pytest.Item) -> list[str]:
    return [name for name in SHARED if name in getattr(item, "fixturenames", ())]


def _folder_of_run(config: pytest.Config) -> Path:
    """A folder that all processes of this run share, and no other run."""
    own: Path = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    return own.parent if hasattr(config, "workerinput") else own
