"""Loaded before any test module, hence before numpy and torch: see the comments on waiting threads.

Says what a tier means. `tests/unit` and `tests/stages` start no program, so that `make test-fast` may run them after
each edit: a test there that starts one fails unless it is marked `process`. `tests/processes` holds files that are
about programs: workers, command lines, the chart as Helm draws it.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# OpenBLAS reads it once, when numpy loads. Its threads wait for each other by spinning, and several test processes
# share the cores: measured, interpolating between the points of a capture takes 80 times longer with two threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import scenewright_stages  # noqa: F401 - sets the OpenMP wait policy

# Helpers that tests of several folders share, and the project's own tools.
sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
sys.path.insert(0, str(Path(__file__).parent / "support"))

from cluster_sharing import FilesAndTwoClusters, end_of_test

_PROGRAMS_OF_FIXTURES = {"browser", "s3_server", "small_disk"}
_WITHOUT_PROGRAMS = ("tests/unit/", "tests/stages/")
_LOOKUPS = {"gcc", "cc", "ld", "objdump", "ldconfig", "uname", "lscpu"}
"""What the standard library asks once a process, wherever the first caller is."""
_started: list[str] = []


def _note_program(event: str, arguments: tuple[Any, ...]) -> None:
    """Audit hook that keeps the name of each program and each fork."""
    if event in ("os.fork", "os.posix_spawn", "os.system"):
        _started.append(event)
    elif event == "subprocess.Popen":
        program = Path(str(arguments[0] or arguments[1][0])).name
        if program not in _LOOKUPS:
            _started.append(program)


sys.addaudithook(_note_program)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks `process` what has a browser, an S3 server or a mounted disk."""
    for item in items:
        if isinstance(item, pytest.Function) and _PROGRAMS_OF_FIXTURES.intersection(item.fixturenames):
            item.add_marker("process")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fails a test that starts a program in a tier that starts none."""
    before = len(_started)
    yield
    if item.nodeid.startswith(_WITHOUT_PROGRAMS) and not item.get_closest_marker("process"):
        programs = _started[before:]
        assert not programs, f"starts {', '.join(programs)}: mark it `process`, or move it to tests/processes"


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
