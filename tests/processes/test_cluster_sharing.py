"""Tests of the cluster share two processes, and their control planes end with the last of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SUPPORT = Path(__file__).parents[1] / "support"
CONFTEST = f"""
import os, sys
from pathlib import Path
import pytest

sys.path.insert(0, {str(SUPPORT)!r})
from cluster_sharing import FilesAndTwoClusters, end_of_test, until_no_cluster_is_needed


def note(word):
    with (Path(__file__).parent / "notes").open("a") as file:
        file.write(f"{{word}} {{os.getpid()}}" + chr(10))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    note(item.name)
    try:
        yield
    finally:
        end_of_test(item, nextitem)


def pytest_xdist_make_scheduler(config, log):
    return FilesAndTwoClusters(config, log)


@pytest.fixture(scope="session")
def control_plane(request):
    with until_no_cluster_is_needed(request.config) as stack:
        stack.callback(note, "ended")
        yield
"""
ON_THE_CLUSTER = """
def test_{name}(control_plane): pass
def test_{name}_without(): pass
"""
ELSEWHERE = "def test_{name}(): pass"


def notes(folder: Path, *options: str) -> list[tuple[str, str]]:
    """Each test at its end, and the ends of control planes, in their order, with the process."""
    (folder / "conftest.py").write_text(CONFTEST)
    for place, text, prefix in (("tests/cluster", ON_THE_CLUSTER, ""), ("tests/unit", ELSEWHERE, "other_")):
        (folder / place).mkdir(parents=True)
        for name in ("a", "b", "faults_c", "toys_d"):
            (folder / place / f"test_{name}{prefix}.py").write_text(text.format(name=f"{prefix}{name}"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/tmp", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    return [(word, process) for word, process in map(str.split, (folder / "notes").read_text().splitlines())]


def test_a_control_plane_ends_with_the_last_test_of_the_cluster(tmp_path: Path) -> None:
    words = [word for word, _ in notes(tmp_path)]
    assert words.count("ended") == 1
    assert words[words.index("ended") - 1] == "test_toys_d_without"
    assert words[words.index("ended") + 1] == "test_other_a"


def test_without_other_tests_it_ends_with_the_process(tmp_path: Path) -> None:
    words = [word for word, _ in notes(tmp_path, "-k", "not other")]
    assert words[-2:] == ["test_toys_d_without", "ended"]


def test_the_longest_run_in_one_process_and_the_rest_of_the_cluster_in_another(tmp_path: Path) -> None:
    found = notes(tmp_path, "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder")
    process = dict(found)
    assert process["test_a"] == process["test_b"] != process["test_faults_c"] == process["test_toys_d"]
    for each in {process["test_a"], process["test_faults_c"]}:
        own = [word for word, process in found if process == each]
        assert own[4] == "ended", own
