"""A reference-object job that is killed ten times, and one of two thousand images: by ``make soak`` only."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from killing import kill_tree, start, workers
from scene_jobs import assert_consistent, scenewright
from test_reference_object import INPUTS, SMALL, tree, write_job

pytestmark = [pytest.mark.slow, pytest.mark.soak]

KILLS = 10
IMAGES = int(os.environ.get("SCENEWRIGHT_IMAGES", "2000"))
"""A multiple of 40."""
PAGE = os.sysconf("SC_PAGE_SIZE")
GROWTH = 1.15
"""Of a worker's memory, from the first half of a stage to its second."""
LONG = 300
"""Readings, of which five are a second: shorter processes spend most of their time on starting."""


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    for name in ("coffee.png", "coffee.mask.png"):
        shutil.copy(INPUTS / name, tmp_path)
    return tmp_path / "coffee.png"


def test_a_run_that_is_killed_ten_times_ends_with_the_same_tree(tmp_path: Path, photo: Path) -> None:
    block = {**SMALL, "vary": {"enabled": True}}
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
    began = time.monotonic()
    assert scenewright("run", write_job(folders[0], photo, block)).code == 0
    patience = (time.monotonic() - began) * 0.4
    rng, job, struck = random.Random(16), write_job(folders[1], photo, block), 0
    while struck < KILLS:
        process = start("run", job)
        time.sleep(rng.uniform(0.5, patience))
        if not kill_tree(process):
            shutil.rmtree(folders[1] / "out")
            continue
        struck += 1
    ended = scenewright("run", job)
    assert ended.code == 0, ended.stderr
    assert_consistent(folders[1] / "out")
    assert tree(folders[0] / "out") == tree(folders[1] / "out")


def test_many_images_need_no_more_memory_than_a_few(tmp_path: Path, photo: Path) -> None:
    block: dict[str, Any] = {
        "perspectives": {"angles": [-20.0, 20.0]},
        "prompts": {"count": 20},
        "scenes": {"iterations": IMAGES // 40, "size": [128, 128], "emptyShare": 0.0},
    }
    process = start("run", write_job(tmp_path, photo, block))
    found: dict[int, list[int]] = {}
    while process.poll() is None:
        for number in workers(process.pid):
            if (pages := resident_pages(number)) is not None:
                found.setdefault(number, []).append(pages * PAGE)
        time.sleep(0.2)
    assert process.returncode == 0
    assert len([name for name in tree(tmp_path / "out") if name.startswith("04_dataset/p")]) == IMAGES
    long_lived = [sizes for sizes in found.values() if len(sizes) > LONG]
    assert long_lived
    for sizes in long_lived:
        half = len(sizes) // 2
        early, late = max(sizes[:half]), max(sizes[half:])
        print(f"{len(sizes) * 0.2:.0f} s: {early >> 20} MiB, then {late >> 20} MiB")
        assert late < GROWTH * early


def resident_pages(number: int) -> int | None:
    """Pages of memory of a process; None when it has ended."""
    try:
        return int(Path(f"/proc/{number}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
