"""The reader that the command line starts: lines of objects that grow, and copies."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scenewright.cli.commands.logs import Labels, Selection
from scenewright_stages.store.local import LocalStore
from scenewright_stages.store.reading import GrowingLines, main

POD = "11111111-2222-3333-4444-555555555555"


def growing(folder: Path, tail: int = 0) -> GrowingLines:
    return GrowingLines(LocalStore(folder), re.compile(r".*\.log"), tail)


def test_only_what_is_new_and_complete_is_given(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("one\ntw")
    lines = growing(tmp_path)
    assert list(lines.new(is_last=False)) == [("a.log", "one")]
    assert list(lines.new(is_last=False)) == []
    (tmp_path / "a.log").write_text("one\ntwo ✓\nthr")
    assert list(lines.new(is_last=False)) == [("a.log", "two ✓")]
    assert list(lines.new(is_last=True)) == [("a.log", "thr")]


def test_the_tail_is_of_what_was_there_at_first(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("1\n2\n3\n")
    (tmp_path / "b.txt").write_text("no log\n")
    lines = growing(tmp_path, tail=2)
    assert [line for _, line in lines.new(is_last=False)] == ["2", "3"]
    (tmp_path / "a.log").write_text("1\n2\n3\n4\n5\n6\n")
    assert [line for _, line in lines.new(is_last=False)] == ["4", "5", "6"]
    (tmp_path / "c.log").write_text("1\n2\n3\n")
    assert len(list(lines.new(is_last=False))) == 3


def test_lines_come_as_json_and_problems_as_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.log").write_text("one\n")
    assert main(["lines", str(tmp_path), r".*\.log"]) == 0
    assert json.loads(capsys.readouterr().out) == {"key": "a.log", "line": "one"}
    assert main(["copy", str(tmp_path / "none"), str(tmp_path / "copy")]) == 1
    assert "no such object" in capsys.readouterr().err


@pytest.mark.process
def test_following_ends_with_its_input(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_text("unfinished")
    command = [sys.executable, "-m", "scenewright_stages.store.reading", "lines", str(tmp_path), r".*\.log", "--follow"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == {"key": "a.log", "line": "unfinished"}


@pytest.mark.parametrize(
    ("key", "selection", "label"),
    [
        (f"coarse-3-{POD}.log", Selection(), "coarse/3"),
        (f"multi-part-step-12-{POD}.log", Selection(), "multi-part-step/12"),
        (f"stage-2-7-{POD}.log", Selection(), "stage-2/7"),
        (f"stage-2-7-{POD}.log", Selection(step="stage-2", shard=7), "stage-2/7"),
        ("index-0-laptop.log", Selection(), "index/0"),
        (f"coarse-3-{POD}.log", Selection(step="depth"), None),
        (f"coarse-3-{POD}.log", Selection(shard=30), None),
        (f"coarse-fine-3-{POD}.log", Selection(step="coarse"), None),
    ],
)
def test_names_of_logs_are_taken_apart(key: str, selection: Selection, label: str | None) -> None:
    pattern = re.compile(selection.pattern())
    assert (pattern.fullmatch(key) is not None) == (label is not None)
    if label is not None:
        assert Labels(pattern).of(key)[0] == label


def test_attempts_are_counted() -> None:
    labels = Labels(re.compile(Selection().pattern()))
    other = POD.replace("1", "2")
    keys = [f"coarse-3-{POD}.log", f"coarse-3-{other}.log", f"coarse-3-{POD}.log", f"coarse-4-{other}.log"]
    assert [labels.of(key)[0] for key in keys] == ["coarse/3", "coarse/3 (2)", "coarse/3", "coarse/4"]
