"""The folder of a process, and those that dead processes left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scenewright_stages.worker.process.process_setup import PREFIX, make_scratch

NOBODY = 2**22 + 1
"""Above the kernel's largest process number."""


def test_a_dead_process_leaves_nothing_and_one_that_lives_keeps_its_folder(tmp_path: Path) -> None:
    dead, living = tmp_path / f"{PREFIX}{NOBODY}-x", tmp_path / f"{PREFIX}{os.getpid()}-x"
    dead.mkdir()
    living.mkdir()
    made = make_scratch(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([living, made])


def test_a_folder_that_another_process_removes_first_is_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / f"{PREFIX}{NOBODY}-gone"
    monkeypatch.setattr(Path, "glob", lambda *_: [gone])
    assert make_scratch(tmp_path).is_dir()
