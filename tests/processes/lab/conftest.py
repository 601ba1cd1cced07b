"""A served folder for the tests of the web page."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_site import Site, serving

from scenewright_lab.settings import Settings


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Serves folders until the test ends."""
    with contextlib.ExitStack() as stack:

        def start(folder: Path = tmp_path, reads: Any = None, writes: Any = None, **given: Any) -> Site:
            return stack.enter_context(serving(Settings(target=str(folder), **given), reads, writes))

        yield start
