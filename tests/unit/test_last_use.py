"""What tests share ends with the last test of the run that needs it, and not with the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).parents[1] / "support"
CONFTEST = f"""
import sys
from pathlib import Path
import pytest

sys.path.insert(0, {str(SUPPORT)!r})
from last_use import count_needs, over, until_last_use


def note(word):
    with (Path(__file__).parent / "notes").open("a") as file:
        file.write(word + chr(10))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    note(item.name)
    try:
        yield
    finally:
        over(item)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    count_needs(config, items)


@pytest.fixture(scope="session")
def control_plane(request):
    with until_last_use(request) as stack:
        stack.callback(note, "ended")
        yield
"""
TESTS = """
import time

def test_{name}_first(control_plane): pass
def test_{name}_between(): pass
def test_{name}_last(control_plane): pass
def test_{name}_wait(): time.sleep({seconds})
def test_{name}_after(): pass
"""


def notes(folder: Path, *options: str, seconds: tuple[float, ...] = (0.0,)) -> list[str]:
    """The tests of a folder in the order of their ends, and when the shared fixture ended."""
    (folder / "conftest.py").write_text(CONFTEST)
    for name, pause in zip("ab", seconds, strict=False):
        (folder / f"test_{name}.py").write_text(TESTS.format(name=name, seconds=pause))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/tmp", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return (folder / "notes").read_text().split()


def test_it_ends_after_the_last_test_that_needs_it_and_before_the_next(tmp_path: Path) -> None:
    assert notes(tmp_path) == ["test_a_first", "test_a_between", "test_a_last", "ended", "test_a_wait", "test_a_after"]


def test_tests_that_do_not_run_are_not_waited_for(tmp_path: Path) -> None:
    assert notes(tmp_path, "-k", "first or between") == ["test_a_first", "ended", "test_a_between"]


def test_each_process_ends_its_own_once_no_process_needs_one(tmp_path: Path) -> None:
    found = notes(tmp_path, "-n", "2", "--dist", "loadfile", seconds=(2.0, 2.0))
    ends = [place for place, word in enumerate(found) if word == "ended"]
    assert len(ends) == 2
    assert min(ends) > max(found.index("test_a_last"), found.index("test_b_last"))
    assert max(ends) < min(found.index("test_a_after"), found.index("test_b_after"))
