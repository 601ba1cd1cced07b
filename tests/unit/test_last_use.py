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
def test_{name}_first(control_plane): pass
def test_{name}_between(): pass
def test_{name}_last(control_plane): pass
def test_{name}_after(): pass
"""
SCHEDULER = f"""
import sys
sys.path.insert(0, {str(SUPPORT)!r})
from one_process import FilesAndOneCluster


def pytest_xdist_make_scheduler(config, log):
    return FilesAndOneCluster(config, log)
"""
NOTES_ITS_PROCESS = """
import os
from pathlib import Path

def test_process():
    with (Path(__file__).parent / "processes").open("a") as file:
        file.write(str(os.getpid()) + chr(10))
"""


def notes(folder: Path, *options: str) -> list[str]:
    """The tests of a folder in the order of their ends, and when the shared fixture ended."""
    (folder / "conftest.py").write_text(CONFTEST)
    for name in "ab":
        (folder / f"test_{name}.py").write_text(TESTS.format(name=name))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/tmp", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return (folder / "notes").read_text().split()


def test_it_ends_after_the_last_test_that_needs_it_and_before_the_next(tmp_path: Path) -> None:
    assert notes(tmp_path)[-3:] == ["test_b_last", "ended", "test_b_after"]


def test_tests_that_do_not_run_are_not_waited_for(tmp_path: Path) -> None:
    found = notes(tmp_path, "-k", "first or between")
    assert found == ["test_a_first", "test_a_between", "test_b_first", "ended", "test_b_between"]


def test_all_tests_of_the_cluster_run_in_one_process(tmp_path: Path) -> None:
    for folder in ("tests/cluster", "tests/unit"):
        (tmp_path / folder).mkdir(parents=True)
        for name in "abc":
            (tmp_path / folder / f"test_{name}_{folder[-4:]}.py").write_text(NOTES_ITS_PROCESS)
    (tmp_path / "conftest.py").write_text(SCHEDULER)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert len(set((tmp_path / "tests/cluster/processes").read_text().split())) == 1
    assert len((tmp_path / "tests/unit/processes").read_text().split()) == 3
