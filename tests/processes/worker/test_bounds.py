"""Memory and scratch space do not grow with the number of samples."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from toy_harness import Toy

SAMPLES = 2000


def resident_mebibytes(process: int) -> float:
    """Resident set of a process, 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
@pytest.mark.serial
def test_two_thousand_samples_need_the_memory_and_scratch_of_a_few(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "job", samples=SAMPLES)
    process = toy.start("double", fold_index=True)
    resident: list[float] = []
    scratch_files = 0
    while process.poll(0.1) is None:
        resident.append(resident_mebibytes(process.pid))
        scratch_files = max(scratch_files, sum(len(names) for _, _, names in os.walk(toy.folder / "scratch")))
    assert process.returncode == 0
    assert toy.report("double").stages["double"].done == SAMPLES
    third = len(resident) // 3
    assert third >= 5
    early, late = max(resident[third : 2 * third]), max(resident[2 * third : -1])
    # The only thing that grows is the lines of the record file: half a kilobyte a sample.
    print(f"resident MiB: {early:.1f} in the second third, {late:.1f} in the last; {scratch_files} scratch files")
    assert late - early < 2.5 * SAMPLES / 3 / 1024 + 4
    assert 1 <= scratch_files <= 16


@pytest.mark.slow
def test_a_large_dataset_is_indexed_and_published_in_seconds(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "job", samples=SAMPLES)
    started = time.monotonic()
    assert toy.step("index") == 0
    assert time.monotonic() - started < 30
    assert toy.report("index").stages["double"].todo == SAMPLES
